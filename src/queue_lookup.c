/*
 * queue_lookup.c
 *	  Is an event still in a subscription's queue?
 *
 * Asked under an MVCC snapshot, because what leaves the queue for the dead letters,
 * or for a row of its own, does so in one transaction: who sees the queue, the
 * dead letters and the progress of one moment is never misled.
 *
 * The row that held the event is remembered, so that asking again is one look-up
 * by number.  When it is gone, the lanes in which the event can be are scanned
 * from their heads.  A head may be trusted if it was read before the snapshot was
 * taken and nothing lowered it meanwhile.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "compat.h"
#include "queue.h"

/* Whether the row in the slot holds the offset; leaves garbage behind. */
static bool
holds(TupleTableSlot *slot, int64 offset)
{
	bool		isnull;
	EbDelivery	d;

	if (DatumGetInt64(slot_getattr(slot, EB_QUEUE_FIRST_OFFSET, &isnull)) > offset ||
		DatumGetInt64(slot_getattr(slot, EB_QUEUE_LAST_OFFSET, &isnull)) < offset)
		return false;
	eb_queue_decode(slot, &d);
	if (d.offsets == NULL)
		return true;
	for (int i = 0; i < d.events; i++)
		if (d.offsets[i] == offset)
			return true;
	return false;
}

/* Goes over an index of a store until a row of sub holds the offset. */
static bool
scan_store(Relation rel, Relation index, ScanKey keys, int nkeys, ScanDirection direction,
		   int32 subscription_id, EbQueueProbe *probe, Snapshot snapshot)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc desc = eb_index_beginscan(rel, index, snapshot, nkeys);
	bool		found = false;
	bool		isnull;

	index_rescan(desc, keys, nkeys, NULL, 0);
	while (!found && index_getnext_slot(desc, direction, slot))
	{
		CHECK_FOR_INTERRUPTS();
		found = (DatumGetInt32(slot_getattr(slot, EB_QUEUE_SUBSCRIPTION, &isnull)) ==
				 subscription_id) && holds(slot, probe->offset);
		if (found)
			probe->seq = DatumGetInt64(slot_getattr(slot, EB_QUEUE_SEQ, &isnull));
	}
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

/* The same over all stores, by number or by lane. */
static bool
scan(EbQueue *queue, bool by_seq, ScanKey keys, int nkeys, ScanDirection direction,
	 int32 subscription_id, EbQueueProbe *probe, Snapshot snapshot)
{
	for (int i = 0; i < EB_STORES; i++)
	{
		EbStore    *store = &queue->stores[i];

		if (store->rel != NULL &&
			scan_store(store->rel, by_seq ? store->index_seq : store->index_lane, keys,
					   nkeys, direction, subscription_id, probe, snapshot))
			return true;
	}
	return false;
}

static bool
scan_lane(EbQueue *queue, EbSubscription *sub, int lane, int64 from, EbQueueProbe *probe,
		  Snapshot snapshot)
{
	ScanKeyData keys[4];
	int			n = 3;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(sub->id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(lane));
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
	if (lane == EB_LANE_DELAYED)	/* there at its own time only */
		ScanKeyInit(&keys[n++], 3, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum(probe->deliver_at));
	else if (!eb_lane_timed(lane))	/* a row begins at or below its position */
		ScanKeyInit(&keys[n++], 3, BTLessEqualStrategyNumber, F_INT8LE,
					Int64GetDatum(probe->offset));
	return scan(queue, false, keys, n, BackwardScanDirection, sub->id, probe,
				snapshot);
}

/* To be called before the snapshot is taken. */
void
eb_queue_probe_begin(EbSubscription *sub, EbQueueProbe *probe)
{
	for (int i = 0; i < EB_PROBE_LANES; i++)
		if (probe->lanes[i] >= 0)
			eb_lane_read(sub->shared, sub->id, probe->lanes[i], &probe->before[i]);
}

/*
 * True if the event waits in the queue, or is leased, in the snapshot, which comes
 * from eb_queue_snapshot.
 */
bool
eb_queue_probe(EbQueue *queue, EbSubscription *sub, EbQueueProbe *probe, Snapshot snapshot)
{
	ScanKeyData key;

	if (probe->seq != 0)
	{
		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(probe->seq));
		if (scan(queue, true, &key, 1, ForwardScanDirection, sub->id, probe, snapshot))
			return true;
		probe->seq = 0;
	}
	for (int i = 0; i < EB_PROBE_LANES; i++)
	{
		EbLane		after;
		int64		from = probe->before[i].head;

		if (probe->lanes[i] < 0)
			continue;
		eb_lane_read(sub->shared, sub->id, probe->lanes[i], &after);
		if (after.generation != probe->before[i].generation)
			from = PG_INT64_MIN;
		if (from != EB_LANE_EMPTY &&
			scan_lane(queue, sub, probe->lanes[i], from, probe, snapshot))
			return true;
	}
	return false;
}
