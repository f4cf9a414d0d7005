/*
 * envelope.c
 *	  One event on its way into the outbox, built from arguments or from JSON.
 *
 * Everything that API.md refuses is refused here, but for duplicates.  The row
 * points into the envelope, which must live until the outbox has copied it.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "cloudevent.h"
#include "compat.h"
#include "envelope.h"
#include "eventbus.h"
#include "request.h"
#include "topic.h"
#include "uuid7.h"

pg_noreturn static void
bad_value(const char *key, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("malformed envelope: \"%s\" must be %s", key, expected)));
}

static char *
get_string(const char *key, const JsonbValue *v)
{
	if (v->type != jbvString)
		bad_value(key, "a string");
	return pnstrdup(v->val.string.val, v->val.string.len);
}

static struct varlena *
get_text(const char *key, const JsonbValue *v)
{
	if (v->type != jbvString)
		bad_value(key, "a string");
	return (struct varlena *) cstring_to_text_with_len(v->val.string.val, v->val.string.len);
}

static pg_uuid_t *
get_uuid(const char *key, const JsonbValue *v)
{
	return DatumGetUUIDP(DirectFunctionCall1(uuid_in,
											 CStringGetDatum(get_string(key, v))));
}

static int
get_priority(const char *key, const JsonbValue *v)
{
	Numeric		truncated;

	if (v->type != jbvNumeric)
		bad_value(key, "an integer");
	truncated = DatumGetNumeric(DirectFunctionCall2(numeric_trunc,
													NumericGetDatum(v->val.numeric), Int32GetDatum(0)));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(truncated),
										  NumericGetDatum(v->val.numeric))))
		bad_value(key, "an integer");
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(truncated)));
}

static TimestampTz
get_timestamp(const char *key, const JsonbValue *v)
{
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(get_string(key, v)),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

typedef enum EbKey
{
	EB_KEY_TYPE,
	EB_KEY_PAYLOAD,
	EB_KEY_AGGREGATE_ID,
	EB_KEY_EVENT_ID,
	EB_KEY_CORRELATION_ID,
	EB_KEY_CAUSATION_ID,
	EB_KEY_HEADERS,
	EB_KEY_PRIORITY,
	EB_KEY_DELIVER_AT
} EbKey;

static const char *const key_names[] = {
	"type", "payload", "aggregate_id", "event_id", "correlation_id",
	"causation_id", "headers", "priority", "deliver_at"
};

static EbKey
lookup_key(const JsonbValue *key)
{
	for (int i = 0; i < lengthof(key_names); i++)
		if (key->val.string.len == strlen(key_names[i]) &&
			memcmp(key->val.string.val, key_names[i], key->val.string.len) == 0)
			return (EbKey) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("malformed envelope: unknown key \"%.*s\"",
					Min(key->val.string.len, 200), key->val.string.val),
			 errhint("The keys are type, payload, aggregate_id, event_id, correlation_id, causation_id, headers, priority and deliver_at; put data of your own into payload or headers.")));
}

/* Stores one member; null stands for absent, but for the payload, which may be it. */
static void
read_member(EbEnvelope *envelope, EbKey key, JsonbValue *v)
{
	const char *name = key_names[key];

	if (v->type == jbvNull && key != EB_KEY_PAYLOAD)
		return;
	switch (key)
	{
		case EB_KEY_TYPE:
			envelope->type = get_text(name, v);
			break;
		case EB_KEY_PAYLOAD:
			envelope->payload = JsonbValueToJsonb(v);
			break;
		case EB_KEY_AGGREGATE_ID:
			envelope->aggregate_id = get_text(name, v);
			break;
		case EB_KEY_EVENT_ID:
			envelope->event_id = get_uuid(name, v);
			break;
		case EB_KEY_CORRELATION_ID:
			envelope->correlation_id = get_uuid(name, v);
			break;
		case EB_KEY_CAUSATION_ID:
			envelope->causation_id = get_uuid(name, v);
			break;
		case EB_KEY_HEADERS:
			envelope->headers = JsonbValueToJsonb(v);
			break;
		case EB_KEY_PRIORITY:
			envelope->priority = get_priority(name, v);
			break;
		case EB_KEY_DELIVER_AT:
			envelope->deliver_at = get_timestamp(name, v);
			envelope->has_deliver_at = true;
			break;
	}
}

static bool
is_cloudevent(JsonbContainer *object)
{
	JsonbValue	v;

	return getKeyJsonValueFromContainer(object, "specversion",
										strlen("specversion"), &v) != NULL;
}

void
eb_envelope_from_json(JsonbValue *json, EbEnvelope *envelope)
{
	JsonbContainer *object = json->val.binary.data;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	memset(envelope, 0, sizeof(*envelope));
	if (json->type != jbvBinary || !JsonContainerIsObject(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("malformed envelope: not a JSON object"),
				 errhint("Pass an object such as {\"type\": \"order.placed\", \"payload\": {}}, or an array of them.")));
	if (is_cloudevent(object))
		object = &eb_cloudevent_to_envelope(JsonbValueToJsonb(json))->root;
	it = JsonbIteratorInit(object);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		read_member(envelope, lookup_key(&key), &value);
	}
}

static void
check_aggregate_id(const struct varlena *aggregate_id)
{
	Size		len = VARSIZE_ANY_EXHDR(aggregate_id);

	if (len == 0 || len > EB_AGGREGATE_ID_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 len == 0 ? errmsg("aggregate_id must not be empty")
				 : errmsg("aggregate_id is longer than %d bytes", EB_AGGREGATE_ID_MAX),
				 len == 0 ? errhint("Pass NULL for an event without an aggregate.")
				 : errhint("Pass a key that identifies the aggregate, not its content.")));
}

static void
check_values(const EbEnvelope *envelope)
{
	if (envelope->type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event type must not be NULL"),
				 errhint("Name the event, for example 'order.placed'.")));
	eb_topic_check_type(VARDATA_ANY(envelope->type), VARSIZE_ANY_EXHDR(envelope->type));
	if (envelope->payload == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload must not be NULL"),
				 errhint("Pass '{}' for an event without data.")));
	if (envelope->aggregate_id != NULL)
		check_aggregate_id(envelope->aggregate_id);
	if (envelope->priority < 0 || envelope->priority > EB_PRIORITY_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("priority %d is out of range", envelope->priority),
				 errhint("Priorities go from 0 (the default) to %d (delivered first).",
						 EB_PRIORITY_MAX)));
	if (envelope->has_deliver_at && TIMESTAMP_NOT_FINITE(envelope->deliver_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deliver_at must be finite"),
				 errhint("Pass NULL to deliver at once.")));
}

static void
set_value(EbEnvelopeRow *row, int column, Datum value, bool present)
{
	row->values[column - 1] = value;
	row->nulls[column - 1] = !present;
}

static void
set_ids(const EbEnvelope *envelope, EbEnvelopeRow *row)
{
	bool		caused = true;

	row->generated = envelope->event_id == NULL;
	if (row->generated)
		eb_uuid7_generate(&row->event_id);
	else
		row->event_id = *envelope->event_id;

	if (envelope->correlation_id != NULL)
		row->correlation_id = *envelope->correlation_id;
	else if (!eb_request_correlation(&row->correlation_id))
		row->correlation_id = row->event_id;

	if (envelope->causation_id != NULL)
		row->causation_id = *envelope->causation_id;
	else
		caused = eb_request_causation(&row->causation_id);

	set_value(row, EB_LOG_EVENT_ID, UUIDPGetDatum(&row->event_id), true);
	set_value(row, EB_LOG_CORRELATION_ID, UUIDPGetDatum(&row->correlation_id), true);
	set_value(row, EB_LOG_CAUSATION_ID, UUIDPGetDatum(&row->causation_id), caused);
}

void
eb_envelope_form(const EbEnvelope *envelope, EbEnvelopeRow *row)
{
	Jsonb	   *headers;

	check_values(envelope);
	headers = eb_request_headers(envelope->headers);
	set_ids(envelope, row);
	set_value(row, EB_LOG_OFFSET, Int64GetDatum(EB_NO_OFFSET), true);
	set_value(row, EB_LOG_DELIVER_AT, TimestampTzGetDatum(envelope->deliver_at),
			  envelope->has_deliver_at);
	set_value(row, EB_LOG_PRIORITY, Int16GetDatum(envelope->priority), true);
	set_value(row, EB_LOG_TYPE, PointerGetDatum(envelope->type), true);
	set_value(row, EB_LOG_AGGREGATE_ID, PointerGetDatum(envelope->aggregate_id),
			  envelope->aggregate_id != NULL);
	set_value(row, EB_LOG_PAYLOAD, JsonbPGetDatum(envelope->payload), true);
	set_value(row, EB_LOG_HEADERS, PointerGetDatum(headers), headers != NULL);
}
