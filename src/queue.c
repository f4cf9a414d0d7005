/*
 * queue.c
 *	  Rows of eventbus.delivery: decoding, writing, finding.
 *
 * The table is written through the table AM, not the executor: a lease must be
 * a handful of microseconds.  An update that changes no indexed column is HOT
 * while its page has room (fillfactor); position, lane and subscription never
 * change in place for that reason.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "log.h"
#include "offsets.h"
#include "queue.h"
#include "store.h"

static bytea *
encode_offsets(const EbDelivery *d)
{
	bytea	   *out = palloc(VARHDRSZ + EB_OFFSETS_SIZE(d->events));

	SET_VARSIZE(out, VARHDRSZ + eb_offsets_encode(d->offsets, d->events, d->first_offset,
												  (unsigned char *) VARDATA(out)));
	return out;
}

static int64 *
decode_offsets(bytea *in, int64 first, int n)
{
	int64	   *offsets = palloc(Max(n, 0) * sizeof(int64));

	if (!eb_offsets_decode((const unsigned char *) VARDATA_ANY(in), VARSIZE_ANY_EXHDR(in),
						   first, n, offsets))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("offsets of a delivery are corrupt")));
	return offsets;
}

static inline TimestampTz
time_or_zero(TupleTableSlot *slot, AttrNumber att)
{
	return slot->tts_isnull[att - 1] ? 0 : DatumGetTimestampTz(slot->tts_values[att - 1]);
}

/* Fills *d from a row; pointers are palloc'd. */
void
eb_queue_decode(TupleTableSlot *slot, EbDelivery *d)
{
	Datum	   *v;

	slot_getallattrs(slot);
	v = slot->tts_values;
	d->tid = slot->tts_tid;
	d->seq = DatumGetInt64(v[EB_QUEUE_SEQ - 1]);
	d->position = DatumGetInt64(v[EB_QUEUE_POSITION - 1]);
	d->subscription_id = DatumGetInt32(v[EB_QUEUE_SUBSCRIPTION - 1]);
	d->lane = DatumGetInt16(v[EB_QUEUE_LANE - 1]);
	d->token = (uint16) DatumGetInt16(v[EB_QUEUE_TOKEN - 1]);
	d->first_offset = DatumGetInt64(v[EB_QUEUE_FIRST_OFFSET - 1]);
	d->last_offset = DatumGetInt64(v[EB_QUEUE_LAST_OFFSET - 1]);
	d->lease_until = time_or_zero(slot, EB_QUEUE_LEASE_UNTIL);
	d->due_at = time_or_zero(slot, EB_QUEUE_DUE_AT);
	d->first_delivered_at = time_or_zero(slot, EB_QUEUE_FIRST_DELIVERED_AT);
	d->events = DatumGetInt32(v[EB_QUEUE_EVENTS - 1]);
	d->attempt = DatumGetInt32(v[EB_QUEUE_ATTEMPT - 1]);
	d->replays = DatumGetInt32(v[EB_QUEUE_REPLAYS - 1]);
	d->replayed = DatumGetBool(v[EB_QUEUE_REPLAYED - 1]);
	d->consumer = slot->tts_isnull[EB_QUEUE_CONSUMER - 1] ? NULL :
		TextDatumGetCString(v[EB_QUEUE_CONSUMER - 1]);
	d->offsets = slot->tts_isnull[EB_QUEUE_OFFSETS - 1] ? NULL :
		decode_offsets(DatumGetByteaPP(v[EB_QUEUE_OFFSETS - 1]), d->first_offset, d->events);
	d->history = slot->tts_isnull[EB_QUEUE_HISTORY - 1] ? NULL :
		DatumGetJsonbPCopy(v[EB_QUEUE_HISTORY - 1]);
	d->parts = slot->tts_isnull[EB_QUEUE_PARTS - 1] ? NULL :
		DatumGetByteaPCopy(v[EB_QUEUE_PARTS - 1]);
	d->store = DatumGetInt16(v[EB_QUEUE_STORE - 1]);
}

static HeapTuple
encode(EbStore *store, const EbDelivery *d)
{
	Datum		v[EB_QUEUE_NATTS];
	bool		nulls[EB_QUEUE_NATTS] = {0};

	v[EB_QUEUE_SEQ - 1] = Int64GetDatum(d->seq);
	v[EB_QUEUE_POSITION - 1] = Int64GetDatum(d->position);
	v[EB_QUEUE_SUBSCRIPTION - 1] = Int32GetDatum(d->subscription_id);
	v[EB_QUEUE_LANE - 1] = Int16GetDatum(d->lane);
	v[EB_QUEUE_TOKEN - 1] = Int16GetDatum((int16) d->token);
	v[EB_QUEUE_FIRST_OFFSET - 1] = Int64GetDatum(d->first_offset);
	v[EB_QUEUE_LAST_OFFSET - 1] = Int64GetDatum(d->last_offset);
	v[EB_QUEUE_LEASE_UNTIL - 1] = TimestampTzGetDatum(d->lease_until);
	nulls[EB_QUEUE_LEASE_UNTIL - 1] = (d->lease_until == 0);
	v[EB_QUEUE_DUE_AT - 1] = TimestampTzGetDatum(d->due_at);
	nulls[EB_QUEUE_DUE_AT - 1] = (d->due_at == 0);
	v[EB_QUEUE_FIRST_DELIVERED_AT - 1] = TimestampTzGetDatum(d->first_delivered_at);
	nulls[EB_QUEUE_FIRST_DELIVERED_AT - 1] = (d->first_delivered_at == 0);
	v[EB_QUEUE_EVENTS - 1] = Int32GetDatum(d->events);
	v[EB_QUEUE_ATTEMPT - 1] = Int32GetDatum(d->attempt);
	v[EB_QUEUE_REPLAYS - 1] = Int32GetDatum(d->replays);
	v[EB_QUEUE_REPLAYED - 1] = BoolGetDatum(d->replayed);
	v[EB_QUEUE_CONSUMER - 1] = d->consumer ? CStringGetTextDatum(d->consumer) : (Datum) 0;
	nulls[EB_QUEUE_CONSUMER - 1] = (d->consumer == NULL);
	v[EB_QUEUE_OFFSETS - 1] = d->offsets ? PointerGetDatum(encode_offsets(d)) : (Datum) 0;
	nulls[EB_QUEUE_OFFSETS - 1] = (d->offsets == NULL);
	v[EB_QUEUE_HISTORY - 1] = d->history ? JsonbPGetDatum(d->history) : (Datum) 0;
	nulls[EB_QUEUE_HISTORY - 1] = (d->history == NULL);
	v[EB_QUEUE_PARTS - 1] = PointerGetDatum(d->parts);
	nulls[EB_QUEUE_PARTS - 1] = (d->parts == NULL);
	v[EB_QUEUE_STORE - 1] = Int16GetDatum(d->store);
	return heap_form_tuple(RelationGetDescr(store->rel), v, nulls);
}

static void
insert_index_entries(EbStore *store, const EbDelivery *d)
{
	Datum		values[3];
	bool		nulls[3] = {0};
	ItemPointer tid = &store->slot->tts_tid;

	values[0] = Int64GetDatum(d->seq);
	index_insert(store->index_seq, values, nulls, tid, store->rel,
				 UNIQUE_CHECK_YES, false, store->info_seq);
	values[0] = Int32GetDatum(d->subscription_id);
	values[1] = Int16GetDatum(d->lane);
	values[2] = Int64GetDatum(d->position);
	index_insert(store->index_lane, values, nulls, tid, store->rel,
				 UNIQUE_CHECK_NO, false, store->info_lane);
}

/* Inserts d as it is into the current store. */
static void
put(EbQueue *queue, EbDelivery *d)
{
	EbStore    *store = eb_queue_target(queue);
	HeapTuple	tuple;

	d->store = queue->target;
	tuple = encode(store, d);
	ExecStoreHeapTuple(tuple, store->slot, false);
	table_tuple_insert(store->rel, store->slot, GetCurrentCommandId(true), 0, NULL);
	d->tid = store->slot->tts_tid;
	insert_index_entries(store, d);
	ExecClearTuple(store->slot);
	heap_freetuple(tuple);
}

/*
 * Inserts a new delivery under a fresh number, which is stored in *d with the
 * row's place.  The token starts at random, so that a receipt of a number that a
 * crash gave back (synchronous_commit = off) is not mistaken for a live one.
 * The caller lowers the lane's hint afterwards.
 */
void
eb_queue_insert(EbQueue *queue, EbDelivery *d)
{
	d->seq = nextval_internal(eb_catalog()->delivery_number, false);
	if (d->lease_until == 0)
		d->token = (uint16) pg_prng_uint32(&pg_global_prng_state);
	put(queue, d);
}

/* Inserts a delivery that was deleted from another store; its receipt stays good. */
void
eb_queue_move(EbQueue *queue, EbDelivery *d)
{
	put(queue, d);
}

#ifdef USE_ASSERT_CHECKING
/*
 * heap_update knows how to come back without waiting, and says so, but asserts that
 * nobody asks it to.  Where assertions are on, the row is locked first.
 */
static TM_Result
lock_row(EbStore *store, ItemPointer tid)
{
	TupleTableSlot *slot = table_slot_create(store->rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TM_FailureData failure;
	TM_Result	result = table_tuple_lock(store->rel, tid, snapshot, slot,
										  GetCurrentCommandId(true), LockTupleNoKeyExclusive,
										  LockWaitSkip, 0, &failure);

	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_WouldBlock ? TM_BeingModified : result;
}
#endif

/*
 * Replaces the row at d's place, and stores the new one.  TM_Ok, or who came first;
 * without wait also TM_BeingModified.
 */
TM_Result
eb_queue_update(EbQueue *queue, EbDelivery *d, bool wait)
{
	EbStore    *store = eb_queue_store(queue, d->store);
	HeapTuple	tuple = encode(store, d);
	TM_FailureData failure;
	LockTupleMode lockmode;
	EbUpdateIndexes update_indexes;
	TM_Result	result;

#ifdef USE_ASSERT_CHECKING
	if (!wait && (result = lock_row(store, &d->tid)) != TM_Ok)
	{
		heap_freetuple(tuple);
		return result;
	}
	wait = true;				/* for nobody any more */
#endif
	ExecStoreHeapTuple(tuple, store->slot, false);
	result = table_tuple_update(store->rel, &d->tid, store->slot,
								GetCurrentCommandId(true), InvalidSnapshot, InvalidSnapshot,
								wait, &failure, &lockmode, &update_indexes);
	if (result == TM_Ok)
	{
		d->tid = store->slot->tts_tid;
		if (eb_indexes_need_update(update_indexes))
			insert_index_entries(store, d);
	}
	ExecClearTuple(store->slot);
	heap_freetuple(tuple);
	return result;
}

/* Deletes the row at d's place; the result is as for eb_queue_update. */
TM_Result
eb_queue_delete(EbQueue *queue, EbDelivery *d, bool wait)
{
	EbStore    *store = eb_queue_store(queue, d->store);
	TM_FailureData failure;

	return table_tuple_delete(store->rel, &d->tid, GetCurrentCommandId(true),
							  InvalidSnapshot, InvalidSnapshot, wait, &failure, false);
}

static bool
find_in_store(EbStore *store, int64 seq, Snapshot snapshot, EbDelivery *d)
{
	TupleTableSlot *slot = table_slot_create(store->rel, NULL);
	IndexScanDesc scan;
	ScanKeyData key;
	bool		found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(seq));
	scan = eb_index_beginscan(store->rel, store->index_seq, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	if (found)
		eb_queue_decode(slot, d);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

/*
 * Finds a delivery by its number as it is committed now, or changed by us.  In one
 * snapshot a row that is being moved is in one store.  A store that was not open
 * when the snapshot was taken may be truncated before we get there, but not
 * without a change of the ring's state.
 */
bool
eb_queue_find(EbQueue *queue, int64 seq, EbDelivery *d)
{
	uint32		state;
	bool		found = false;

	do
	{
		Snapshot	snapshot;
		int			current;

		state = eb_ring_state(queue->ring);
		current = eb_ring_current(state);
		(void) eb_queue_store(queue, current);
		snapshot = RegisterSnapshot(GetLatestSnapshot());
		for (int i = 0; i < EB_STORES && !found; i++)
		{
			int			k = (current + i) % EB_STORES;

			if (!eb_ring_empty(state, k))
				found = find_in_store(eb_queue_store(queue, k), seq, snapshot, d);
		}
		UnregisterSnapshot(snapshot);
	} while (!found && eb_ring_state(queue->ring) != state);
	return found;
}

/*
 * The offsets of a delivery's events, palloc'd.  A dense one is looked up in the
 * log, because its run may have gaps.
 */
int64 *
eb_queue_offsets(const EbDelivery *d, int *n)
{
	int64	   *offsets = palloc(Max(d->events, 1) * sizeof(int64));
	EbLogScan  *scan;
	TupleTableSlot *slot;
	Snapshot	snapshot;
	bool		isnull;

	*n = 0;
	if (d->offsets != NULL)
	{
		memcpy(offsets, d->offsets, d->events * sizeof(int64));
		*n = d->events;
		return offsets;
	}
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = eb_log_scan_begin(d->first_offset, d->last_offset, snapshot);
	while (*n < d->events && (slot = eb_log_scan_next(scan)) != NULL)
		offsets[(*n)++] = DatumGetInt64(slot_getattr(slot, EB_LOG_OFFSET, &isnull));
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	return offsets;
}

/*
 * Makes *d a delivery of these offsets (n > 0), which are a subset of its own.
 * A contiguous part of a dense delivery stays dense.
 */
void
eb_queue_set_offsets(EbDelivery *d, const int64 *offsets, int n)
{
	bool		dense = (n == 1 || offsets[n - 1] - offsets[0] == n - 1);

	Assert(n > 0);
	d->first_offset = offsets[0];
	d->last_offset = offsets[n - 1];
	d->events = n;
	d->offsets = NULL;
	if (!dense)
	{
		d->offsets = palloc(n * sizeof(int64));
		memcpy(d->offsets, offsets, n * sizeof(int64));
	}
}

static int
clear_store(EbQueue *queue, int k, int32 subscription_id, Snapshot snapshot)
{
	EbStore    *store = &queue->stores[k];
	TupleTableSlot *slot = table_slot_create(store->rel, NULL);
	IndexScanDesc scan;
	ScanKeyData key;
	int			deleted = 0;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(subscription_id));
	scan = eb_index_beginscan(store->rel, store->index_lane, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		EbDelivery	d = {.tid = slot->tts_tid, .store = k};

		CHECK_FOR_INTERRUPTS();
		if (eb_queue_delete(queue, &d, false) == TM_Ok)
			deleted++;
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return deleted;
}

/*
 * Deletes what a subscription has in its queue, except what somebody is at work
 * on; returns how many deliveries.
 */
int
eb_queue_clear(EbQueue *queue, int32 subscription_id)
{
	Snapshot	snapshot = eb_queue_snapshot(queue);
	int			deleted = 0;

	for (int k = 0; k < EB_STORES; k++)
		if (queue->stores[k].rel != NULL)
			deleted += clear_store(queue, k, subscription_id, snapshot);
	UnregisterSnapshot(snapshot);
	return deleted;
}
