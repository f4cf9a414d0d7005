/*
 * filter.c
 *	  Payload filters: a jsonpath predicate over an event.
 *
 * $ is the payload; the envelope comes as variables, which are made only if the
 * path names them.  Errors and nulls while evaluating are no match: one odd payload
 * must not stop the bus.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "filter.h"
#include "filter_quick.h"
#include "log.h"

typedef struct EbVariable
{
	const char *name;
	int			column;			/* of the log */
} EbVariable;

static const EbVariable variables[] = {
	{"type", EB_LOG_TYPE},
	{"aggregate_id", EB_LOG_AGGREGATE_ID},
	{"headers", EB_LOG_HEADERS},
	{"priority", EB_LOG_PRIORITY},
	{"correlation_id", EB_LOG_CORRELATION_ID},
	{"causation_id", EB_LOG_CAUSATION_ID},
};

struct EbFilter
{
	JsonPath   *path;
	EbQuick    *quick;			/* NULL = every event must be evaluated */
	Jsonb	   *no_variables;	/* {} */
	bool		any;			/* one of the next is true */
	bool		uses[lengthof(variables)];
};

/* The end of the JSON string that begins at s, behind its closing quote. */
static const char *
skip_string(const char *s)
{
	for (s++; *s != '\0' && *s != '"'; s++)
		if (*s == '\\' && s[1] != '\0')
			s++;
	return *s == '"' ? s + 1 : s;
}

/* Notes the variable whose quoted name is between s and end. */
static void
note_variable(EbFilter *filter, const char *s, const char *end)
{
	int			len = end - s - 2;

	for (int i = 0; i < lengthof(variables); i++)
	{
		if (strlen(variables[i].name) == len &&
			strncmp(variables[i].name, s + 1, len) == 0)
		{
			filter->uses[i] = true;
			filter->any = true;
			return;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("filter uses an unknown variable: $%.*s", len, s + 1),
			 errhint("The variables are $type, $aggregate_id, $headers, $priority, $correlation_id and $causation_id; $ is the payload.")));
}

/*
 * Finds the variables in the path's canonical text, where each is $ and a quoted
 * name; the text is the same in every server version, the binary form is not.
 */
static void
find_variables(EbFilter *filter)
{
	const char *s = DatumGetCString(DirectFunctionCall1(jsonpath_out,
														PointerGetDatum(filter->path)));

	while (*s != '\0')
	{
		if (s[0] == '$' && s[1] == '"')
		{
			const char *end = skip_string(s + 1);

			note_variable(filter, s + 1, end);
			s = end;
		}
		else if (*s == '"')
			s = skip_string(s);
		else
			s++;
	}
}

static Jsonb *
empty_object(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

EbFilter *
eb_filter_compile(JsonPath *path)
{
	EbFilter   *filter = palloc0(sizeof(EbFilter));

	filter->path = palloc(VARSIZE(path));
	memcpy(filter->path, path, VARSIZE(path));
	filter->quick = eb_filter_quick_compile(filter->path);
	filter->no_variables = empty_object();
	find_variables(filter);
	return filter;
}

static void
set_string(JsonbValue *v, char *s, int len)
{
	v->type = jbvString;
	v->val.string.val = s;
	v->val.string.len = len;
}

static void
set_uuid(JsonbValue *v, Datum uuid)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(uuid_out, uuid));

	set_string(v, text, strlen(text));
}

/* A column's value as JSON. */
static void
variable_value(const EbVariable *variable, TupleTableSlot *row, JsonbValue *v)
{
	bool		isnull;
	Datum		datum = slot_getattr(row, variable->column, &isnull);

	v->type = jbvNull;
	if (isnull)
		return;
	switch (variable->column)
	{
		case EB_LOG_TYPE:
		case EB_LOG_AGGREGATE_ID:
			{
				text	   *t = DatumGetTextPP(datum);

				set_string(v, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
				break;
			}
		case EB_LOG_HEADERS:
			{
				Jsonb	   *headers = DatumGetJsonbP(datum);

				v->type = jbvBinary;
				v->val.binary.data = &headers->root;
				v->val.binary.len = VARSIZE(headers) - VARHDRSZ;
				break;
			}
		case EB_LOG_PRIORITY:
			v->type = jbvNumeric;
			v->val.numeric = DatumGetNumeric(DirectFunctionCall1(int2_numeric, datum));
			break;
		default:
			set_uuid(v, datum);
			break;
	}
}

/* The object of the variables that the path names. */
static Jsonb *
make_variables(EbFilter *filter, TupleTableSlot *row)
{
	JsonbParseState *state = NULL;

	if (!filter->any)
		return filter->no_variables;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < lengthof(variables); i++)
	{
		JsonbValue	v;

		if (!filter->uses[i])
			continue;
		set_string(&v, unconstify(char *, variables[i].name), strlen(variables[i].name));
		pushJsonbValue(&state, WJB_KEY, &v);
		variable_value(&variables[i], row, &v);
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

bool
eb_filter_match(EbFilter *filter, TupleTableSlot *log_row, bool *failed)
{
	LOCAL_FCINFO(fcinfo, 4);
	bool		isnull;
	Jsonb	   *payload = DatumGetJsonbP(slot_getattr(log_row, EB_LOG_PAYLOAD, &isnull));
	Datum		result;

	if (failed != NULL)
		*failed = false;
	if (filter->quick != NULL && eb_filter_quick_rejects(filter->quick, payload))
		return false;
	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(payload);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = PointerGetDatum(filter->path);
	fcinfo->args[1].isnull = false;
	fcinfo->args[2].value = JsonbPGetDatum(make_variables(filter, log_row));
	fcinfo->args[2].isnull = false;
	fcinfo->args[3].value = BoolGetDatum(true); /* silent */
	fcinfo->args[3].isnull = false;
	result = jsonb_path_match(fcinfo);
	if (failed != NULL)
		*failed = fcinfo->isnull;
	return !fcinfo->isnull && DatumGetBool(result);
}
