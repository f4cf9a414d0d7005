/*
 * request.c
 *	  What events inherit from the session's settings: correlation and trace.
 *
 * Settings are strings that are set once a request and read once an event, so each
 * is parsed when its text changes only.  Unset, it costs a look at one byte.
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "compat.h"
#include "guc.h"
#include "request.h"
#include "tracecontext.h"

#define TRACEPARENT		"traceparent"
#define TRACESTATE		"tracestate"
#define UUID_TEXT_MAX	45

/* A setting that holds a uuid, and the text that was parsed last. */
typedef struct EbUuidSetting
{
	const char *name;
	char		text[UUID_TEXT_MAX];
	pg_uuid_t	id;
} EbUuidSetting;

static EbUuidSetting correlation = {.name = "eventbus.correlation_id"};
static EbUuidSetting causation = {.name = "eventbus.causation_id"};

/* The settings' trace context, and the texts that it was made from. */
static struct
{
	MemoryContext context;
	char	   *traceparent;
	char	   *tracestate;
	bool		valid;			/* the parent is */
	bool		state_valid;
	Jsonb	   *headers;
} trace;

/* A uuid in one of its usual spellings? uuid_in's own error would name no setting. */
static bool
uuid_text_valid(const char *s)
{
	int			digits = 0;

	for (const char *c = s; *c != '\0'; c++)
	{
		if (isxdigit((unsigned char) *c))
			digits++;
		else if (*c != '-' && *c != '{' && *c != '}')
			return false;
	}
	return digits == 32 && strlen(s) == 36 && s[8] == '-' && s[13] == '-' &&
		s[18] == '-' && s[23] == '-';
}

static bool
read_uuid(EbUuidSetting *setting, const char *text, pg_uuid_t *id)
{
	if (text == NULL || text[0] == '\0')
		return false;
	if (strcmp(text, setting->text) != 0)
	{
		if (!uuid_text_valid(text))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for setting \"%s\": \"%s\"", setting->name, text),
					 errhint("Set %s to a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91, or to ''.",
							 setting->name)));
		setting->id = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(text)));
		strlcpy(setting->text, text, sizeof(setting->text));
	}
	*id = setting->id;
	return true;
}

bool
eb_request_correlation(pg_uuid_t *id)
{
	return read_uuid(&correlation, eb_correlation_id, id);
}

bool
eb_request_causation(pg_uuid_t *id)
{
	return read_uuid(&causation, eb_causation_id, id);
}

static JsonbValue
string_value(const char *s)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, s);
	v.val.string.len = strlen(s);
	return v;
}

static void
push_string(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue	k = string_value(name);
	JsonbValue	v = string_value(value);

	pushJsonbValue(state, WJB_KEY, &k);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_trace(JsonbParseState **state)
{
	push_string(state, TRACEPARENT, trace.traceparent);
	if (trace.state_valid)
		push_string(state, TRACESTATE, trace.tracestate);
}

/* Parses the trace settings again; they changed. */
static void
load_trace(void)
{
	MemoryContext oldcontext;
	JsonbParseState *state = NULL;

	if (trace.context == NULL)
		trace.context = AllocSetContextCreate(TopMemoryContext, "eventbus trace",
											  ALLOCSET_SMALL_SIZES);
	trace.traceparent = NULL;
	trace.valid = false;
	MemoryContextReset(trace.context);
	oldcontext = MemoryContextSwitchTo(trace.context);
	trace.tracestate = pstrdup(eb_tracestate ? eb_tracestate : "");
	trace.state_valid = trace.tracestate[0] != '\0' &&
		eb_tracestate_valid(trace.tracestate, strlen(trace.tracestate));
	trace.traceparent = pstrdup(eb_traceparent);
	if (eb_traceparent_valid(trace.traceparent, strlen(trace.traceparent)))
	{
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_trace(&state);
		trace.headers = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
		trace.valid = true;
	}
	MemoryContextSwitchTo(oldcontext);
}

/* True if the settings have a valid trace context, which is in trace then. */
static bool
trace_available(void)
{
	if (likely(eb_traceparent == NULL || eb_traceparent[0] == '\0'))
		return false;
	if (trace.traceparent == NULL || strcmp(trace.traceparent, eb_traceparent) != 0 ||
		strcmp(trace.tracestate, eb_tracestate ? eb_tracestate : "") != 0)
		load_trace();
	return trace.valid;
}

static bool
key_is(const JsonbValue *key, const char *name)
{
	return key->val.string.len == strlen(name) &&
		memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

pg_noreturn static void
bad_headers(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("headers must be a JSON object of strings"),
			 errhint("For example '{\"tenant\": \"acme\"}'.")));
}

typedef struct EbHeaderScan
{
	bool		has_parent;
	bool		parent_valid;
	bool		has_state;
	bool		state_valid;
} EbHeaderScan;

/* Checks that headers is an object of strings, and looks at its trace context. */
static void
scan_headers(Jsonb *headers, EbHeaderScan *found)
{
	JsonbIterator *it = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	memset(found, 0, sizeof(*found));
	if (!JB_ROOT_IS_OBJECT(headers))
		bad_headers();
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		if (value.type != jbvString)
			bad_headers();
		if (key_is(&key, TRACEPARENT))
		{
			found->has_parent = true;
			found->parent_valid = eb_traceparent_valid(value.val.string.val,
													   value.val.string.len);
		}
		else if (key_is(&key, TRACESTATE))
		{
			found->has_state = true;
			found->state_valid = eb_tracestate_valid(value.val.string.val,
													 value.val.string.len);
		}
	}
}

/* The caller's headers without what is dropped, with the settings' trace if asked. */
static Jsonb *
rebuild_headers(Jsonb *given, bool drop_parent, bool drop_state, bool add_trace)
{
	JsonbIterator *it = JsonbIteratorInit(&given->root);
	JsonbIteratorToken token;
	JsonbParseState *state = NULL;
	JsonbValue	key;
	JsonbValue	value;
	int			n = 0;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		if ((drop_parent && key_is(&key, TRACEPARENT)) ||
			(drop_state && key_is(&key, TRACESTATE)))
			continue;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
		n++;
	}
	if (add_trace)
		push_trace(&state);
	if (n == 0 && !add_trace)
		return NULL;
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
eb_request_headers(Jsonb *given)
{
	EbHeaderScan found;
	bool		add_trace;
	bool		drop_state;

	if (given == NULL)
		return trace_available() ? trace.headers : NULL;
	scan_headers(given, &found);
	add_trace = !found.parent_valid && trace_available();
	/* a state belongs to its parent: without a valid one it says nothing */
	drop_state = found.has_state && (!found.parent_valid || !found.state_valid);
	if (add_trace || drop_state || (found.has_parent && !found.parent_valid))
		return rebuild_headers(given, !found.parent_valid, drop_state, add_trace);
	return given;
}
