/*
 * cloudevent_out.c
 *		eb_cloudevent: an event as a CloudEvents 1.0 object (JSON format).
 *
 * What came in as a CloudEvent goes out as it came: the headers that
 * cloudevent.c kept ("ce-...") win over what would be derived.  Headers whose
 * names no attribute may have travel together in the extension "ebheaders".
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/dbcommands.h"
#include "datatype/timestamp.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "cloudevent_attr.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(eventbus_cloudevent);

/* the columns of eb_event */
enum
{
	COL_OFFSET,
	COL_EVENT_ID,
	COL_TYPE,
	COL_AGGREGATE_ID,
	COL_PAYLOAD,
	COL_CORRELATION_ID,
	COL_CAUSATION_ID,
	COL_HEADERS,
	COL_PRIORITY,
	COL_DELIVER_AT,
	COL_EMITTED_AT,
	COLUMNS
};

typedef struct EbCloudWriter
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];
	Jsonb	   *headers;		/* or NULL */
	JsonbParseState *out;
	JsonbParseState *packed;	/* headers that are no attributes */
	int			npacked;
} EbCloudWriter;

static void
push(JsonbParseState **state, const char *key, int len, JsonbValue *value)
{
	JsonbValue	k;

	k.type = jbvString;
	k.val.string.val = unconstify(char *, key);
	k.val.string.len = len;
	pushJsonbValue(state, WJB_KEY, &k);
	pushJsonbValue(state, WJB_VALUE, value);
}

static void
push_string(EbCloudWriter *w, const char *key, const char *s)
{
	JsonbValue	v;

	if (s == NULL)
		return;
	v.type = jbvString;
	v.val.string.val = unconstify(char *, s);
	v.val.string.len = strlen(s);
	push(&w->out, key, strlen(key), &v);
}

/* a header's value, if it is a string */
static char *
header(EbCloudWriter *w, const char *prefix, const char *name)
{
	char	   *key = psprintf("%s%s", prefix, name);
	JsonbValue	v;

	if (w->headers == NULL ||
		getKeyJsonValueFromContainer(&w->headers->root, key, strlen(key), &v) == NULL ||
		v.type != jbvString)
		return NULL;
	return pnstrdup(v.val.string.val, v.val.string.len);
}

/* A column as text, NULL if it is null */
static char *
column(EbCloudWriter *w, int col, PGFunction out)
{
	if (w->nulls[col])
		return NULL;
	return DatumGetCString(DirectFunctionCall1(out, w->values[col]));
}

static char *
timestamp_text(TimestampTz t)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(t) || timestamp2tm(t, NULL, &tm, &fsec, NULL, NULL) != 0)
		return NULL;
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
					tm.tm_year, tm.tm_mon, tm.tm_mday,
					tm.tm_hour, tm.tm_min, tm.tm_sec, (int) fsec);
}

/* An attribute as it came in, else what the event says. */
static void
push_attribute(EbCloudWriter *w, const char *name, const char *derived)
{
	char	   *kept = header(w, EB_CE_PREFIX, name);

	push_string(w, name, kept ? kept : derived);
}

/* The source of events that were born here. */
static char *
default_source(void)
{
	char	   *database = get_database_name(MyDatabaseId);
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "/eventbus/");
	for (const char *s = database ? database : ""; *s; s++)
	{
		if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
			(*s >= '0' && *s <= '9') || strchr("-._~", *s) != NULL)
			appendStringInfoChar(&buf, *s);
		else
			appendStringInfo(&buf, "%%%02X", (unsigned char) *s);
	}
	return buf.data;
}

static void
push_core(EbCloudWriter *w)
{
	pg_uuid_t  *id = w->nulls[COL_EVENT_ID] ? NULL : DatumGetUUIDP(w->values[COL_EVENT_ID]);

	push_string(w, "specversion", "1.0");
	push_attribute(w, "id", column(w, COL_EVENT_ID, uuid_out));
	push_attribute(w, "source", default_source());
	push_string(w, "type", column(w, COL_TYPE, textout));
	push_attribute(w, "time", id ? eb_cloudevent_attr_time(id) : NULL);
	push_attribute(w, "subject", NULL);
	push_attribute(w, "datacontenttype", NULL);
	push_attribute(w, "dataschema", NULL);
}

static void
push_extensions(EbCloudWriter *w)
{
	JsonbValue	priority;

	push_attribute(w, "correlationid", column(w, COL_CORRELATION_ID, uuid_out));
	push_attribute(w, "causationid", column(w, COL_CAUSATION_ID, uuid_out));
	push_string(w, "partitionkey", column(w, COL_AGGREGATE_ID, textout));
	push_attribute(w, "sequence", w->nulls[COL_OFFSET] ? NULL :
				   psprintf("%020lld", (long long) DatumGetInt64(w->values[COL_OFFSET])));
	push_attribute(w, "recordedtime", w->nulls[COL_EMITTED_AT] ? NULL :
				   timestamp_text(DatumGetTimestampTz(w->values[COL_EMITTED_AT])));
	if (!w->nulls[COL_DELIVER_AT])
		push_string(w, "ebdeliverat", timestamp_text(DatumGetTimestampTz(w->values[COL_DELIVER_AT])));
	if (w->nulls[COL_PRIORITY] || DatumGetInt16(w->values[COL_PRIORITY]) == 0)
		return;
	priority.type = jbvNumeric;
	priority.val.numeric = DatumGetNumeric(DirectFunctionCall1(int2_numeric, w->values[COL_PRIORITY]));
	push(&w->out, "ebpriority", strlen("ebpriority"), &priority);
}

/* data, data_base64 or neither */
static void
push_data(EbCloudWriter *w)
{
	char	   *base64 = header(w, EB_CE_PREFIX, "data_base64");
	char	   *data = header(w, EB_CE_PREFIX, "data");
	const char *key = base64 ? "data_base64" : "data";
	Jsonb	   *payload;
	JsonbValue	v;

	if ((data && strcmp(data, "absent") == 0) || w->nulls[COL_PAYLOAD])
		return;
	payload = DatumGetJsonbP(w->values[COL_PAYLOAD]);
	if (!JB_ROOT_IS_SCALAR(payload) || !JsonbExtractScalar(&payload->root, &v))
	{
		v.type = jbvBinary;
		v.val.binary.data = &payload->root;
		v.val.binary.len = VARSIZE(payload) - VARHDRSZ;
	}
	push(&w->out, key, strlen(key), &v);
}

/* ce-json-<name>: a number or boolean again */
static void
push_typed(EbCloudWriter *w, const char *name, const JsonbValue *text)
{
	Jsonb	   *parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															CStringGetDatum(pnstrdup(text->val.string.val, text->val.string.len))));
	JsonbValue	v;

	if (JB_ROOT_IS_SCALAR(parsed) && JsonbExtractScalar(&parsed->root, &v))
		push(&w->out, name, strlen(name), &v);
}

/* One of the core attributes or extensions that are written elsewhere? */
static bool
written_elsewhere(const char *name)
{
	return eb_cloudevent_attr_reserved(name) || strcmp(name, "data_base64") == 0;
}

static void
push_header(EbCloudWriter *w, const char *name, JsonbValue *value)
{
	if (strncmp(name, EB_CE_JSON_PREFIX, strlen(EB_CE_JSON_PREFIX)) == 0 &&
		value->type == jbvString)
		push_typed(w, name + strlen(EB_CE_JSON_PREFIX), value);
	else if (strncmp(name, EB_CE_PREFIX, strlen(EB_CE_PREFIX)) == 0 &&
			 value->type == jbvString && written_elsewhere(name + strlen(EB_CE_PREFIX)))
		return;
	else if (value->type == jbvString && value->val.string.len > 0 &&
			 eb_cloudevent_attr_name_valid(name) && !written_elsewhere(name))
		push(&w->out, name, strlen(name), value);
	else
	{
		push(&w->packed, name, strlen(name), value);
		w->npacked++;
	}
}

static void
push_headers(EbCloudWriter *w)
{
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	key;
	JsonbValue	value;
	Jsonb	   *packed;

	if (w->headers == NULL || !JB_ROOT_IS_OBJECT(w->headers))
		return;
	pushJsonbValue(&w->packed, WJB_BEGIN_OBJECT, NULL);
	it = JsonbIteratorInit(&w->headers->root);
	while ((tok = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (tok != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		push_header(w, pnstrdup(key.val.string.val, key.val.string.len), &value);
	}
	packed = JsonbValueToJsonb(pushJsonbValue(&w->packed, WJB_END_OBJECT, NULL));
	if (w->npacked > 0)
		push_string(w, "ebheaders", JsonbToCString(NULL, &packed->root, VARSIZE(packed)));
}

Datum
eventbus_cloudevent(PG_FUNCTION_ARGS)
{
	HeapTupleHeader record = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	tupdesc;
	HeapTupleData tuple;
	EbCloudWriter w;

	memset(&w, 0, sizeof(w));
	tupdesc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(record),
									 HeapTupleHeaderGetTypMod(record));
	if (tupdesc->natts != COLUMNS)
		elog(ERROR, "type eb_event has %d columns instead of %d", tupdesc->natts, COLUMNS);
	tuple.t_len = HeapTupleHeaderGetDatumLength(record);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = record;
	heap_deform_tuple(&tuple, tupdesc, w.values, w.nulls);
	ReleaseTupleDesc(tupdesc);
	if (!w.nulls[COL_HEADERS])
		w.headers = DatumGetJsonbP(w.values[COL_HEADERS]);

	pushJsonbValue(&w.out, WJB_BEGIN_OBJECT, NULL);
	push_core(&w);
	push_extensions(&w);
	push_headers(&w);
	push_data(&w);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&w.out, WJB_END_OBJECT, NULL)));
}
