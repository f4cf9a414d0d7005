/*
 * reason.c
 *	  Why a delivery failed, and the record of its attempts.
 *
 * History is a JSON array with an object an attempt: attempt, at, consumer,
 * reason, error.  An event that fails for ever must not grow without bound, so
 * beyond HISTORY_MAX entries those after the first are dropped.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "reason.h"

#define HISTORY_MAX		100
#define ERROR_MAX		4096	/* bytes of an error kept */

char *
eb_reason_label(Oid value)
{
	return DatumGetCString(DirectFunctionCall1(enum_out, ObjectIdGetDatum(value)));
}

Oid
eb_reason_value(const char *label)
{
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									   CStringGetDatum("eb_reason"),
									   ObjectIdGetDatum(eb_catalog()->api_schema));
	HeapTuple	tuple = SearchSysCache2(ENUMTYPOIDNAME, ObjectIdGetDatum(type),
										CStringGetDatum(label));
	Oid			value;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "eb_reason has no value \"%s\"", label);
	value = ((Form_pg_enum) GETSTRUCT(tuple))->oid;
	ReleaseSysCache(tuple);
	return value;
}

bool
eb_reason_retryable(const char *label)
{
	return strcmp(label, "DeliveryFailed") == 0 || strcmp(label, EB_REASON_TIMEOUT) == 0;
}

static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = (char *) key;
	v.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &v);
}

static void
push_text(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v;

	if (value == NULL)
		return;
	push_key(state, key);
	v.type = jbvString;
	v.val.string.val = (char *) value;
	v.val.string.len = pg_mbcliplen(value, strlen(value), ERROR_MAX);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_int(JsonbParseState **state, const char *key, int value)
{
	JsonbValue	v;

	push_key(state, key);
	v.type = jbvNumeric;
	v.val.numeric = DatumGetNumeric(DirectFunctionCall1(int4_numeric, Int32GetDatum(value)));
	pushJsonbValue(state, WJB_VALUE, &v);
}

/* Copies the entries of history worth keeping into the open array. */
static void
push_entries(JsonbParseState **state, Jsonb *history)
{
	int			n = JB_ROOT_COUNT(history);

	for (int i = 0; i < n; i++)
	{
		JsonbValue *entry;

		if (i > 0 && n - i >= HISTORY_MAX)
			continue;
		entry = getIthJsonbValueFromContainer(&history->root, i);
		pushJsonbValue(state, WJB_ELEM, entry);
	}
}

/* See reason.h. */
Jsonb *
eb_history_append(Jsonb *history, const EbFailure *failure)
{
	JsonbParseState *state = NULL;
	const char *at = DatumGetCString(DirectFunctionCall1(timestamptz_out,
														 TimestampTzGetDatum(failure->at)));

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	if (history != NULL)
		push_entries(&state, history);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_int(&state, "attempt", failure->attempt);
	push_text(&state, "at", at);
	push_text(&state, "consumer", failure->consumer);
	push_text(&state, "reason", failure->reason);
	push_text(&state, "error", failure->error);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
