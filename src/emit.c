/*
 * emit.c
 *	  SQL functions that emit: eb_emit in both forms, and eb_pending.
 *
 * An array is all or nothing because an error ends the (sub)transaction, and the
 * outbox is cut back with it: nothing of a refused call can be committed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "contract.h"
#include "dedup.h"
#include "envelope.h"
#include "eventbus.h"
#include "fault.h"
#include "grant.h"
#include "guc.h"
#include "log.h"
#include "outbox.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(eventbus_emit);
PG_FUNCTION_INFO_V1(eventbus_emit_json);
PG_FUNCTION_INFO_V1(eventbus_pending);

/* True if the log has an event with this id. */
static bool
in_log(const pg_uuid_t *id)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = eb_log_find(id, snapshot);

	if (slot != NULL)
		ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return slot != NULL;
}

/*
 * True if an event with this id, which the caller gave, was emitted before: in this
 * transaction with a generated id, by anybody with a given one, or by anybody at
 * all and committed.
 */
static bool
is_duplicate(const pg_uuid_t *id)
{
	eb_dedup_check(EB_DEDUP_EMIT, id);
	if (EB_FAULT("dedup_lookup"))
		return in_log(id);
	return eb_outbox_has_generated(id) || !eb_dedup_claim(id) || in_log(id);
}

static void
skip_duplicate(EbDb *db, const pg_uuid_t *id)
{
	if (eb_on_duplicate == EB_DUPLICATE_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("event %s was emitted before",
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
				 errhint("Set eventbus.on_duplicate = skip to ignore repeated events.")));
	pg_atomic_fetch_add_u64(&db->duplicates, 1);
}

static void
check_contract(const EbEnvelope *envelope)
{
	char		type[EB_TYPE_MAX_LEN + 1];

	text_to_cstring_buffer((text *) envelope->type, type, sizeof(type));
	eb_contract_check(type, envelope->payload);
}

/* Checks one event and puts it into the outbox, unless it is a duplicate. */
static void
emit_one(EbDb *db, const EbEnvelope *envelope, pg_uuid_t *id)
{
	EbEnvelopeRow row;

	eb_envelope_form(envelope, &row);
	eb_grant_check_emit(VARDATA_ANY(envelope->type), VARSIZE_ANY_EXHDR(envelope->type));
	check_contract(envelope);
	*id = row.event_id;
	if (!row.generated && is_duplicate(id))
		skip_duplicate(db, id);
	else
		eb_outbox_append(row.values, row.nulls, row.generated);
}

/* Arguments that may all be NULL; a NULL priority is the default. */
Datum
eventbus_emit(PG_FUNCTION_ARGS)
{
	EbEnvelope	envelope = {0};
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	eb_outbox_check("eb_emit()");
	if (!PG_ARGISNULL(0))
		envelope.type = PG_GETARG_TEXT_PP(0);
	if (!PG_ARGISNULL(1))
		envelope.payload = PG_GETARG_JSONB_P(1);
	if (!PG_ARGISNULL(2))
		envelope.aggregate_id = PG_GETARG_TEXT_PP(2);
	if (!PG_ARGISNULL(3))
		envelope.event_id = PG_GETARG_UUID_P(3);
	if (!PG_ARGISNULL(4))
		envelope.correlation_id = PG_GETARG_UUID_P(4);
	if (!PG_ARGISNULL(5))
		envelope.causation_id = PG_GETARG_UUID_P(5);
	if (!PG_ARGISNULL(6))
		envelope.headers = PG_GETARG_JSONB_P(6);
	if (!PG_ARGISNULL(7))
		envelope.priority = PG_GETARG_INT32(7);
	if (!PG_ARGISNULL(8))
	{
		envelope.deliver_at = PG_GETARG_TIMESTAMPTZ(8);
		envelope.has_deliver_at = true;
	}
	emit_one(eb_log_sequencer(), &envelope, id);
	PG_RETURN_UUID_P(id);
}

static void
emit_json(EbDb *db, JsonbValue *json, pg_uuid_t *id)
{
	EbEnvelope	envelope;

	eb_envelope_from_json(json, &envelope);
	emit_one(db, &envelope, id);
}

/* Emits every element; what one needs is freed before the next. */
static void
emit_array(EbDb *db, Jsonb *events, pg_uuid_t *ids)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventbus envelope",
												  ALLOCSET_DEFAULT_SIZES);
	JsonbIterator *it = JsonbIteratorInit(&events->root);
	JsonbIteratorToken token;
	JsonbValue	element;
	int			n = 0;

	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		MemoryContext oldcontext;

		if (token != WJB_ELEM)
			continue;
		CHECK_FOR_INTERRUPTS();
		oldcontext = MemoryContextSwitchTo(context);
		emit_json(db, &element, &ids[n++]);
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

static ArrayType *
ids_array(pg_uuid_t *ids, int n)
{
	Datum	   *datums = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		datums[i] = UUIDPGetDatum(&ids[i]);
	return construct_array(datums, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
}

/* One envelope object or an array of them; NULL is neither. */
Datum
eventbus_emit_json(PG_FUNCTION_ARGS)
{
	Jsonb	   *events;
	JsonbValue	root;
	pg_uuid_t  *ids;
	EbDb	   *db;
	int			n = 1;

	eb_outbox_check("eb_emit()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events must not be NULL"),
				 errhint("Pass an envelope object or an array of them; '[]' emits nothing.")));
	events = PG_GETARG_JSONB_P(0);
	db = eb_log_sequencer();
	if (JB_ROOT_IS_ARRAY(events) && !JB_ROOT_IS_SCALAR(events))
	{
		n = JB_ROOT_COUNT(events);
		ids = palloc_extended(Max(n, 1) * sizeof(pg_uuid_t), MCXT_ALLOC_HUGE);
		emit_array(db, events, ids);
	}
	else
	{
		ids = palloc(sizeof(pg_uuid_t));
		root.type = jbvBinary;
		root.val.binary.data = &events->root;
		root.val.binary.len = VARSIZE(events) - VARHDRSZ;
		emit_json(db, &root, ids);
	}
	PG_RETURN_ARRAYTYPE_P(ids_array(ids, n));
}

/* What this transaction has emitted so far. */
Datum
eventbus_pending(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TupleTableSlot *slot;
	EbOutboxReader reader;
	HeapTupleData tuple = {0};
	Datum		values[EB_EVENT_NATTS];
	bool		nulls[EB_EVENT_NATTS];

	eb_shmem_require();
	InitMaterializedSRF(fcinfo, 0);
	slot = MakeSingleTupleTableSlot(eb_log_tupdesc(), &TTSOpsHeapTuple);
	eb_outbox_reader_init(&reader);
	while ((tuple.t_data = eb_outbox_reader_next(&reader, &tuple.t_len)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		ExecStoreHeapTuple(&tuple, slot, false);
		eb_log_event_datums(slot, values, nulls);
		nulls[0] = true;		/* no offset before the commit */
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	eb_outbox_reader_end(&reader);
	ExecDropSingleTupleTableSlot(slot);
	return (Datum) 0;
}
