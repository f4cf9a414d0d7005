/*
 * cloudevent.c
 *		CloudEvents 1.0 in: the JSON format to an eventbus envelope.
 *
 * The round trip is lossless: an attribute that has a column goes there; a
 * string extension becomes the header of the same name; whatever the columns
 * cannot give back byte for byte is kept in a header named "ce-<attribute>"
 * ("ce-json-<attribute>" for extensions that are numbers or booleans), which
 * cloudevent_out.c prefers over what it would derive.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "cloudevent.h"
#include "cloudevent_attr.h"
#include "compat.h"
#include "schema_format.h"

typedef struct EbCloudReader
{
	JsonbParseState *envelope;
	JsonbParseState *headers;
	int			nheaders;
	JsonbValue	id;				/* the core attributes, jbvNull if absent */
	JsonbValue	source;
	JsonbValue	type;
	JsonbValue	specversion;
	JsonbValue	time;
	JsonbValue	data;
	JsonbValue	data_base64;
	bool		has_data;		/* "data": null is data */
} EbCloudReader;

pg_noreturn static void malformed(const char *attribute, const char *problem);

static void
malformed(const char *attribute, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("malformed CloudEvent: attribute \"%s\" %s",
					attribute, problem),
			 errhint("An object with \"specversion\" is read as a CloudEvents 1.0 event; leave that key out to pass an eventbus envelope.")));
}

static JsonbValue
string_value(const char *s, int len)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, s);
	v.val.string.len = len;
	return v;
}

static bool
string_equals(const JsonbValue *v, const char *s)
{
	return v->type == jbvString && v->val.string.len == strlen(s) &&
		memcmp(v->val.string.val, s, v->val.string.len) == 0;
}

static void
push_pair(JsonbParseState **state, const char *key, int len, JsonbValue *value)
{
	JsonbValue	k = string_value(key, len);

	pushJsonbValue(state, WJB_KEY, &k);
	pushJsonbValue(state, WJB_VALUE, value);
}

static void
push_envelope(EbCloudReader *r, const char *key, JsonbValue *value)
{
	push_pair(&r->envelope, key, strlen(key), value);
}

static void
push_header(EbCloudReader *r, const char *prefix, const char *name,
			JsonbValue *value)
{
	char	   *key = psprintf("%s%s", prefix, name);

	push_pair(&r->headers, key, strlen(key), value);
	r->nheaders++;
}

/* a string attribute that may not be empty; absent is fine unless required */
static bool
check_string(const char *attribute, const JsonbValue *v, bool required)
{
	if (v->type == jbvNull)
	{
		if (required)
			malformed(attribute, "is missing");
		return false;
	}
	if (v->type != jbvString)
		malformed(attribute, "must be a string");
	if (v->val.string.len == 0)
		malformed(attribute, "must not be empty");
	return true;
}

/* a UUID in its canonical, lower-case text form? *v7 tells the version */
static bool
uuid_canonical(const JsonbValue *v, bool *is_uuid, bool *v7)
{
	const char *s = v->val.string.val;

	*is_uuid = eb_schema_format_valid(EB_FORMAT_UUID, s, v->val.string.len);
	*v7 = *is_uuid && s[14] == '7' && strchr("89abAB", s[19]) != NULL;
	if (!*is_uuid)
		return false;
	for (int i = 0; i < v->val.string.len; i++)
		if (s[i] >= 'A' && s[i] <= 'F')
			return false;
	return true;
}

/* id: a UUIDv7 is the event's id, anything else only comes back out */
static void
read_id(EbCloudReader *r)
{
	bool		is_uuid;
	bool		v7;
	bool		canonical;

	check_string("id", &r->id, true);
	canonical = uuid_canonical(&r->id, &is_uuid, &v7);
	if (v7)
		push_envelope(r, "event_id", &r->id);
	if (!v7 || !canonical)
		push_header(r, EB_CE_PREFIX, "id", &r->id);
}

/* time: the id's own time needs no header */
static void
read_time(EbCloudReader *r)
{
	bool		is_uuid;
	bool		v7;

	if (!check_string("time", &r->time, false))
		return;
	if (!eb_schema_format_valid(EB_FORMAT_DATE_TIME, r->time.val.string.val,
								r->time.val.string.len))
		malformed("time", "must be an RFC 3339 timestamp");
	uuid_canonical(&r->id, &is_uuid, &v7);
	if (v7)
	{
		Datum		id = DirectFunctionCall1(uuid_in,
											 CStringGetDatum(pnstrdup(r->id.val.string.val, r->id.val.string.len)));

		if (string_equals(&r->time, eb_cloudevent_attr_time(DatumGetUUIDP(id))))
			return;
	}
	push_header(r, EB_CE_PREFIX, "time", &r->time);
}

/* correlationid, causationid: a UUID goes to the column */
static void
read_uuid_extension(EbCloudReader *r, const char *attribute,
					const char *column, JsonbValue *v)
{
	bool		is_uuid;
	bool		v7;
	bool		canonical = false;

	check_string(attribute, v, true);
	canonical = uuid_canonical(v, &is_uuid, &v7);
	if (is_uuid)
		push_envelope(r, column, v);
	if (!canonical)
		push_header(r, EB_CE_PREFIX, attribute, v);
}

/* ebheaders: the headers whose names no CloudEvents attribute may have */
static void
read_packed_headers(EbCloudReader *r, JsonbValue *v)
{
	Jsonb	   *packed;
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	key;
	JsonbValue	value;

	check_string("ebheaders", v, true);
	packed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												CStringGetDatum(pnstrdup(v->val.string.val, v->val.string.len))));
	if (!JB_ROOT_IS_OBJECT(packed))
		malformed("ebheaders", "must hold a JSON object");
	it = JsonbIteratorInit(&packed->root);
	while ((tok = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (tok != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		push_pair(&r->headers, key.val.string.val, key.val.string.len, &value);
		r->nheaders++;
	}
}

static void
read_priority(EbCloudReader *r, JsonbValue *v)
{
	if (v->type != jbvNumeric)
		malformed("ebpriority", "must be an integer");
	push_envelope(r, "priority", v);
}

/* An extension without a place in the envelope: a header of its own. */
static void
read_extension(EbCloudReader *r, const char *attribute, JsonbValue *v)
{
	JsonbValue	text;
	char	   *s;

	if (!eb_cloudevent_attr_name_valid(attribute))
		malformed(attribute, "must consist of lower-case letters and digits");
	switch (v->type)
	{
		case jbvString:
			/* a header may not be named as an attribute that we derive */
			push_header(r, eb_cloudevent_attr_reserved(attribute) ? EB_CE_PREFIX : "",
						attribute, v);
			return;
		case jbvBool:
			s = v->val.boolean ? "true" : "false";
			break;
		case jbvNumeric:
			s = DatumGetCString(DirectFunctionCall1(numeric_out,
													NumericGetDatum(v->val.numeric)));
			if (strlen(s) > 11 || strspn(s, "-0123456789") != strlen(s) ||
				strtoll(s, NULL, 10) != (int32) strtoll(s, NULL, 10))
				malformed(attribute, "must be a string, a boolean or a 32-bit integer");
			break;
		default:
			malformed(attribute, "must be a string, a boolean or an integer");
	}
	text = string_value(s, strlen(s));
	push_header(r, EB_CE_JSON_PREFIX, attribute, &text);
}

/* the core attributes are kept for later, extensions are dealt with at once */
static void
read_attribute(EbCloudReader *r, const char *name, JsonbValue *v)
{
	struct
	{
		const char *name;
		JsonbValue *slot;
	}			core[] = {
		{"specversion", &r->specversion},
		{"id", &r->id},
		{"source", &r->source},
		{"type", &r->type},
		{"time", &r->time},
		{"data_base64", &r->data_base64},
	};

	if (strcmp(name, "data") == 0)
	{
		r->data = *v;
		r->has_data = true;
		return;
	}
	if (v->type == jbvNull)
		return;					/* null means absent */
	for (int i = 0; i < lengthof(core); i++)
	{
		if (strcmp(name, core[i].name) == 0)
		{
			*core[i].slot = *v;
			return;
		}
	}
	if (strcmp(name, "datacontenttype") == 0 || strcmp(name, "subject") == 0 ||
		strcmp(name, "dataschema") == 0)
	{
		check_string(name, v, true);
		push_header(r, EB_CE_PREFIX, name, v);
	}
	else if (strcmp(name, "correlationid") == 0)
		read_uuid_extension(r, name, "correlation_id", v);
	else if (strcmp(name, "causationid") == 0)
		read_uuid_extension(r, name, "causation_id", v);
	else if (strcmp(name, "partitionkey") == 0)
	{
		check_string(name, v, true);
		push_envelope(r, "aggregate_id", v);
	}
	else if (strcmp(name, "ebpriority") == 0)
		read_priority(r, v);
	else if (strcmp(name, "ebdeliverat") == 0)
	{
		check_string(name, v, true);
		push_envelope(r, "deliver_at", v);
	}
	else if (strcmp(name, "ebheaders") == 0)
		read_packed_headers(r, v);
	else
		read_extension(r, name, v);
}

/* data, data_base64 (kept as its text) or neither */
static void
read_data(EbCloudReader *r)
{
	JsonbValue	mark;

	if (r->data_base64.type != jbvNull)
	{
		if (r->has_data)
			malformed("data_base64", "excludes \"data\"");
		if (r->data_base64.type != jbvString ||
			!eb_cloudevent_attr_base64_valid(r->data_base64.val.string.val,
											 r->data_base64.val.string.len))
			malformed("data_base64", "must be a base64 string");
		push_envelope(r, "payload", &r->data_base64);
		mark = string_value("true", 4);
		push_header(r, EB_CE_PREFIX, "data_base64", &mark);
	}
	else if (r->has_data)
		push_envelope(r, "payload", &r->data);
	else
	{
		JsonbValue	null;

		null.type = jbvNull;
		push_envelope(r, "payload", &null);
		mark = string_value("absent", 6);
		push_header(r, EB_CE_PREFIX, "data", &mark);
	}
}

static void
read_core(EbCloudReader *r)
{
	check_string("specversion", &r->specversion, true);
	if (!string_equals(&r->specversion, "1.0"))
		malformed("specversion", "must be \"1.0\"");
	check_string("type", &r->type, true);
	push_envelope(r, "type", &r->type);
	check_string("source", &r->source, true);
	push_header(r, EB_CE_PREFIX, "source", &r->source);
	read_id(r);
	read_time(r);
	read_data(r);
}

Jsonb *
eb_cloudevent_to_envelope(Jsonb *obj)
{
	EbCloudReader r;
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	key;
	JsonbValue	value;
	JsonbValue *headers;

	if (!JB_ROOT_IS_OBJECT(obj))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("malformed CloudEvent: not a JSON object")));
	memset(&r, 0, sizeof(r));
	r.id.type = r.source.type = r.type.type = r.specversion.type = jbvNull;
	r.time.type = r.data.type = r.data_base64.type = jbvNull;
	pushJsonbValue(&r.envelope, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&r.headers, WJB_BEGIN_OBJECT, NULL);

	it = JsonbIteratorInit(&obj->root);
	while ((tok = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (tok != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		read_attribute(&r, pnstrdup(key.val.string.val, key.val.string.len),
					   &value);
	}
	read_core(&r);

	headers = pushJsonbValue(&r.headers, WJB_END_OBJECT, NULL);
	if (r.nheaders > 0)
	{
		Jsonb	   *packed = JsonbValueToJsonb(headers);
		JsonbValue	v;

		v.type = jbvBinary;
		v.val.binary.data = &packed->root;
		v.val.binary.len = VARSIZE(packed) - VARHDRSZ;
		push_envelope(&r, "headers", &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&r.envelope, WJB_END_OBJECT, NULL));
}
