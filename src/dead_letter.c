/*
 * dead_letter.c
 *	  eventbus.dead_letter: burying, and putting back, by the relay or by hand.
 *
 * A letter is a copy of its event, so that it can be read for as long as it
 * lives.  An event is either in the queue or a dead letter: what moves between
 * the two moves in one transaction, and a letter that another session is
 * replaying is passed over, so that it is put back once.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "dead_letter.h"
#include "dlq.h"
#include "reason.h"

/* Automatic replays that one look makes at most, so that they do not flood. */
#define REPLAY_DUE_MAX	100

/* A column of eventbus.dead_letter. */
#define LETTER_SUBSCRIPTION	3

static Datum
offset_array(const int64 *offsets, int n)
{
	Datum	   *elems = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elems[i] = Int64GetDatum(offsets[i]);
	return PointerGetDatum(construct_array(elems, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The INSERT, planned once a session and extension; SPI is connected. */
static SPIPlanPtr
bury_plan(void)
{
	static SPIPlanPtr plan = NULL;
	static Oid	planned_for = InvalidOid;
	Oid			types[] = {INT8ARRAYOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, JSONBOID,
	TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, INT8OID};
	char	   *sql;

	if (plan != NULL && planned_for == eb_catalog()->extension)
		return plan;
	sql = psprintf("INSERT INTO eventbus.dead_letter (source, subscription, \"offset\", event_id, type, "
				   "aggregate_id, payload, headers, reason, error, attempts, history, first_failed_at, "
				   "dead_at, replays, replay_at) "
				   "SELECT '" EB_DLQ_SOURCE "', $2, e.\"offset\", e.event_id, e.type, e.aggregate_id, "
				   "e.payload, e.headers, $3::%s, $4, $5, $6, ($6->0->>'at')::timestamptz, $7, $8, "
				   "$9 + pg_catalog.random() * $10 * interval '1 us' "
				   "FROM eventbus.event e WHERE e.\"offset\" = ANY ($1)",
				   quote_qualified_identifier(get_namespace_name(eb_catalog()->api_schema), "eb_reason"));
	plan = SPI_prepare(sql, lengthof(types), types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare the dead letters' statement");
	planned_for = eb_catalog()->extension;
	return plan;
}

/* Buries events with one past. */
static void
bury_part(EbSubscription *sub, const EbDelivery *d, const int64 *offsets, int n,
		  const char *reason, const char *error)
{
	EbOwnerScope scope;
	TimestampTz now = GetCurrentTimestamp();
	bool		automatic = (sub->dlq_replay_after >= 0 && d->replays < sub->dlq_replay_max &&
							 (eb_reason_retryable(reason) || strcmp(reason, EB_REASON_RETRIES) == 0));
	Datum		args[10];
	char		nulls[11] = "          ";
	Snapshot	snapshot;

	args[0] = offset_array(offsets, n);
	args[1] = CStringGetTextDatum(sub->name);
	args[2] = CStringGetTextDatum(reason);
	args[3] = error ? CStringGetTextDatum(error) : (Datum) 0;
	nulls[3] = error ? ' ' : 'n';
	args[4] = Int32GetDatum(d->attempt);
	args[5] = JsonbPGetDatum(d->history);
	args[6] = TimestampTzGetDatum(now);
	args[7] = Int32GetDatum(d->replays);
	args[8] = TimestampTzGetDatum(now + Max(sub->dlq_replay_after, 0));
	nulls[8] = automatic ? ' ' : 'n';
	/* Spread over half the delay, so that they do not come back as one wave. */
	args[9] = Int64GetDatum(Max(sub->dlq_replay_after, 0) / 2);

	eb_owner_begin(&scope);
	SPI_connect();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(bury_plan(), args, nulls, snapshot, InvalidSnapshot,
							 false, true, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write dead letters");
	UnregisterSnapshot(snapshot);
	SPI_finish();
	eb_owner_end(&scope);
}

/* See dead_letter.h. */
void
eb_dead_letter_bury(EbSubscription *sub, const EbDelivery *d, const int64 *offsets, int n,
					const char *reason, const char *error)
{
	EbDelivery	one;
	int			same;

	if (n == 0)
		return;
	for (int i = 0; i < n; i += same)
	{
		same = eb_queue_part(d, offsets + i, n - i, &one);
		bury_part(sub, &one, offsets + i, same, reason, error);
	}
	pg_atomic_fetch_add_u64(&sub->shared->dead, n);
	eb_queue_settled(sub->shared, 0);
}

/* See dead_letter.h. */
bool
eb_dead_letter_exists(const pg_uuid_t *event_id, const char *subscription, Snapshot snapshot)
{
	Oid			schema = eb_catalog()->schema;
	Relation	rel = table_open(get_relname_relid("dead_letter", schema), AccessShareLock);
	Relation	index = index_open(get_relname_relid("dead_letter_event_id", schema),
								   AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = eb_index_beginscan(rel, index, snapshot, 1);
	ScanKeyData key;
	bool		found = false;
	bool		isnull;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(event_id));
	index_rescan(scan, &key, 1, NULL, 0);
	while (!found && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		Datum		name = slot_getattr(slot, LETTER_SUBSCRIPTION, &isnull);

		found = subscription == NULL ||
			(!isnull && strcmp(TextDatumGetCString(name), subscription) == 0);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return found;
}

/* Puts letters that are due by themselves back; for the relay. */
int64
eb_dead_letter_replay_due(void)
{
	EbDlqSelection due = {.due_only = true, .max_rows = REPLAY_DUE_MAX};

	return eb_dlq_replay_selected(&due);
}
