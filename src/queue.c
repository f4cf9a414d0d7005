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
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
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
#include "queue.h"

/* Opens the queue in the current memory context. */
EbQueue *
eb_queue_open(LOCKMODE lockmode)
{
	const EbCatalog *c = eb_catalog();
	EbQueue    *queue = palloc(sizeof(EbQueue));

	queue->rel = table_open(c->delivery, lockmode);
	queue->index_seq = index_open(c->delivery_seq, lockmode);
	queue->index_lane = index_open(c->delivery_lane, lockmode);
	queue->info_seq = BuildIndexInfo(queue->index_seq);
	queue->info_lane = BuildIndexInfo(queue->index_lane);
	queue->slot = MakeSingleTupleTableSlot(RelationGetDescr(queue->rel), &TTSOpsHeapTuple);
	return queue;
}

/* Closes it; the locks stay until the transaction's end. */
void
eb_queue_close(EbQueue *queue)
{
	ExecDropSingleTupleTableSlot(queue->slot);
	index_close(queue->index_lane, NoLock);
	index_close(queue->index_seq, NoLock);
	table_close(queue->rel, NoLock);
	pfree(queue);
}

/* Offsets as varint distances, the first from first_offset. */
static bytea *
encode_offsets(const EbDelivery *d)
{
	bytea	   *out = palloc(VARHDRSZ + d->events * 10);
	unsigned char *p = (unsigned char *) VARDATA(out);
	int64		prev = d->first_offset;

	for (int i = 0; i < d->events; i++)
	{
		uint64		delta = (uint64) (d->offsets[i] - prev);

		while (delta >= 0x80)
		{
			*p++ = (unsigned char) (delta | 0x80);
			delta >>= 7;
		}
		*p++ = (unsigned char) delta;
		prev = d->offsets[i];
	}
	SET_VARSIZE(out, (char *) p - (char *) out);
	return out;
}

static int64 *
decode_offsets(bytea *in, int64 first, int n)
{
	const unsigned char *p = (const unsigned char *) VARDATA_ANY(in);
	const unsigned char *end = p + VARSIZE_ANY_EXHDR(in);
	int64	   *offsets = palloc(n * sizeof(int64));
	int64		prev = first;

	for (int i = 0; i < n; i++)
	{
		uint64		delta = 0;

		for (int shift = 0;; shift += 7)
		{
			if (p >= end || shift > 63)
				ereport(ERROR,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("offsets of a delivery are corrupt")));
			delta |= (uint64) (*p & 0x7f) << shift;
			if ((*p++ & 0x80) == 0)
				break;
		}
		offsets[i] = prev = prev + (int64) delta;
	}
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
}

static HeapTuple
encode(EbQueue *queue, const EbDelivery *d)
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
	return heap_form_tuple(RelationGetDescr(queue->rel), v, nulls);
}

static void
insert_index_entries(EbQueue *queue, TupleTableSlot *slot, const EbDelivery *d)
{
	Datum		values[3];
	bool		nulls[3] = {0};

	values[0] = Int64GetDatum(d->seq);
	index_insert(queue->index_seq, values, nulls, &slot->tts_tid, queue->rel,
				 UNIQUE_CHECK_YES, false, queue->info_seq);
	values[0] = Int32GetDatum(d->subscription_id);
	values[1] = Int16GetDatum(d->lane);
	values[2] = Int64GetDatum(d->position);
	index_insert(queue->index_lane, values, nulls, &slot->tts_tid, queue->rel,
				 UNIQUE_CHECK_NO, false, queue->info_lane);
}

/*
 * Inserts a new delivery under a fresh number, which is stored in *d with the
 * row's tid.  The token starts at random, so that a receipt of a number that a
 * crash gave back (synchronous_commit = off) is not mistaken for a live one.
 * The caller lowers the lane's hint afterwards.
 */
void
eb_queue_insert(EbQueue *queue, EbDelivery *d)
{
	HeapTuple	tuple;

	d->seq = nextval_internal(eb_catalog()->delivery_number, false);
	if (d->lease_until == 0)
		d->token = (uint16) pg_prng_uint32(&pg_global_prng_state);
	tuple = encode(queue, d);
	ExecStoreHeapTuple(tuple, queue->slot, false);
	table_tuple_insert(queue->rel, queue->slot, GetCurrentCommandId(true), 0, NULL);
	d->tid = queue->slot->tts_tid;
	insert_index_entries(queue, queue->slot, d);
	ExecClearTuple(queue->slot);
	heap_freetuple(tuple);
}

/*
 * Replaces the row at d->tid, and stores the new tid.  TM_Ok, or who came first;
 * without wait also TM_BeingModified.
 */
TM_Result
eb_queue_update(EbQueue *queue, EbDelivery *d, bool wait)
{
	HeapTuple	tuple = encode(queue, d);
	TM_FailureData failure;
	LockTupleMode lockmode;
	EbUpdateIndexes update_indexes;
	TM_Result	result;

	ExecStoreHeapTuple(tuple, queue->slot, false);
	result = table_tuple_update(queue->rel, &d->tid, queue->slot,
								GetCurrentCommandId(true), InvalidSnapshot, InvalidSnapshot,
								wait, &failure, &lockmode, &update_indexes);
	if (result == TM_Ok)
	{
		d->tid = queue->slot->tts_tid;
		if (eb_indexes_need_update(update_indexes))
			insert_index_entries(queue, queue->slot, d);
	}
	ExecClearTuple(queue->slot);
	heap_freetuple(tuple);
	return result;
}

/* Deletes the row at d->tid; the result is as for eb_queue_update. */
TM_Result
eb_queue_delete(EbQueue *queue, EbDelivery *d, bool wait)
{
	TM_FailureData failure;

	return table_tuple_delete(queue->rel, &d->tid, GetCurrentCommandId(true),
							  InvalidSnapshot, InvalidSnapshot, wait, &failure, false);
}

/* Finds a delivery by its number as it is committed now, or changed by us. */
bool
eb_queue_find(EbQueue *queue, int64 seq, EbDelivery *d)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(queue->rel, NULL);
	IndexScanDesc scan;
	ScanKeyData key;
	bool		found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(seq));
	scan = eb_index_beginscan(queue->rel, queue->index_seq, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	if (found)
		eb_queue_decode(slot, d);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
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

/*
 * Deletes what a subscription has in its queue, except what somebody is at work
 * on; returns how many deliveries.
 */
int
eb_queue_clear(EbQueue *queue, int32 subscription_id)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(queue->rel, NULL);
	IndexScanDesc scan;
	ScanKeyData key;
	int			deleted = 0;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(subscription_id));
	scan = eb_index_beginscan(queue->rel, queue->index_lane, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		EbDelivery	d = {.tid = slot->tts_tid};

		CHECK_FOR_INTERRUPTS();
		if (eb_queue_delete(queue, &d, false) == TM_Ok)
			deleted++;
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return deleted;
}
