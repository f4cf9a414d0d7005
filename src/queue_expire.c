/*
 * queue_expire.c
 *	  Leases that ran out: another attempt, or a dead letter.
 *
 * A consumer that fetches takes an expired delivery over, and buries it if that
 * was its last attempt.  Where nobody fetches any more, the relay's housekeeping
 * buries it, a bounded number of rows at a time: it goes round over the lanes of
 * the subscriptions with something due, and goes on next time where it stopped.
 * It takes no lease and moves no hint.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "dead_letter.h"
#include "queue.h"
#include "reason.h"
#include "store.h"

#define EXPIRED_ERROR	"the lease ran out"

/* Rows that one look visits, and the events that it buries, at most. */
#define VISIT_MAX		2000
#define BURY_MAX		1000

/* In an ordered lane only its first row, or that row's parts, can be leased. */
#define VISIT_ORDERED	10

/* Where the next look goes on; in this process, the relay as a rule. */
static struct
{
	int32		subscription_id;
	int			lane;
	int			store;
	int64		position;
} resume;

typedef struct Sweep
{
	EbQueue    *queue;
	TimestampTz now;
	MemoryContext scratch;		/* of one row */
	int			visited;
	int			buried;
} Sweep;

/* Notes in its events' history that d's lease ran out, which is a failed attempt. */
void
eb_queue_expire(const EbSubscription *sub, EbDelivery *d)
{
	EbFailure	failure = {.attempt = d->attempt, .at = d->lease_until,
		.consumer = d->consumer, .reason = EB_REASON_TIMEOUT,
	.error = EXPIRED_ERROR};
	int64	   *offsets = NULL;
	int			n = 1;

	if (d->parts != NULL)
		offsets = eb_queue_offsets(d, &n);
	if (n > 0)
		eb_queue_fail(d, offsets, n, &failure);
	pg_atomic_fetch_add_u64(&sub->shared->expired, d->events);
}

/* Makes dead letters of d's events; false if somebody else was faster. */
bool
eb_queue_bury(EbQueue *queue, EbSubscription *sub, EbDelivery *d)
{
	int			n;
	int64	   *offsets = eb_queue_offsets(d, &n);

	if (eb_queue_delete(queue, d, false) != TM_Ok)
		return false;
	eb_dead_letter_bury(sub, d, offsets, n, EB_REASON_RETRIES, EXPIRED_ERROR);
	if (d->lane >= EB_LANE_ORDERED)
		eb_queue_released(sub->shared, d);
	return true;
}

static bool
exhausted(const Sweep *sweep, const EbSubscription *sub, const EbDelivery *d)
{
	return d->lease_until != 0 && d->lease_until <= sweep->now &&
		d->attempt >= sub->max_attempts;
}

/*
 * Looks at a lane's rows in one store from a position on; returns where to go on, or
 * EB_LANE_EMPTY at the end.
 */
static int64
sweep_lane(Sweep *sweep, EbSubscription *sub, int lane, EbStore *store, int64 from)
{
	SnapshotData dirty;
	ScanKeyData keys[3];
	IndexScanDesc scan;
	TupleTableSlot *slot = table_slot_create(store->rel, NULL);
	int64		next = EB_LANE_EMPTY;
	int			n = 0;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(sub->id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(lane));
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
	InitDirtySnapshot(dirty);
	scan = eb_index_beginscan(store->rel, store->index_lane, &dirty, 3);
	index_rescan(scan, keys, 3, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(sweep->scratch);
		bool		busy = TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax);
		EbDelivery	d;

		CHECK_FOR_INTERRUPTS();
		eb_queue_decode(slot, &d);
		if (!busy && exhausted(sweep, sub, &d))
		{
			eb_queue_expire(sub, &d);
			if (eb_queue_bury(sweep->queue, sub, &d))
				sweep->buried += d.events;
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(sweep->scratch);
		if ((eb_lane_timed(lane) && d.position > sweep->now) ||
			(lane >= EB_LANE_ORDERED && ++n >= VISIT_ORDERED))
			break;
		if (++sweep->visited >= VISIT_MAX || sweep->buried >= BURY_MAX)
		{
			next = d.position;
			break;
		}
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return next;
}

/* Sweeps a lane from a store and position on; false if it was cut short. */
static bool
sweep_stores(Sweep *sweep, EbSubscription *sub, int lane, int first, int64 position)
{
	uint32		state;
	EbLane		hints;

	eb_lane_read(sub->shared, sub->id, lane, &hints);
	if (hints.head == EB_LANE_EMPTY)
		return true;
	state = eb_queue_look(sweep->queue);
	for (int i = first; i < EB_STORES; i++, position = PG_INT64_MIN)
	{
		int64		next;

		if (eb_ring_empty(state, i))
			continue;
		next = sweep_lane(sweep, sub, lane, &sweep->queue->stores[i],
						  Max(position, hints.head));
		if (next != EB_LANE_EMPTY)
		{
			resume.subscription_id = sub->id;
			resume.lane = lane;
			resume.store = i;
			resume.position = next;
			return false;
		}
	}
	return true;
}

/* Sweeps a subscription, from where the last look stopped; false if it was cut short. */
static bool
sweep_subscription(Sweep *sweep, EbSubscription *sub, bool resumed)
{
	int			lane = 0;

	if (resumed)
	{
		lane = resume.lane;
		if (!sweep_stores(sweep, sub, lane++, resume.store, resume.position))
			return false;
	}
	for (; lane < EB_LANE_COUNT; lane++)
		if (!sweep_stores(sweep, sub, lane, 0, PG_INT64_MIN))
			return false;
	return true;
}

/*
 * Buries what had its last attempt, when its lease is over and nobody comes to
 * fetch; returns how many events.
 */
int
eb_queue_expire_last(EbQueue *queue, TimestampTz now)
{
	Sweep		sweep = {.queue = queue, .now = now};
	List	   *subs = eb_subscription_all(NULL);
	int			n = list_length(subs);
	int			start = 0;

	sweep.scratch = AllocSetContextCreate(CurrentMemoryContext, "eventbus expiry",
										  ALLOCSET_SMALL_SIZES);
	for (int i = 0; i < n; i++)
		if (((EbSubscription *) list_nth(subs, i))->id == resume.subscription_id)
			start = i;
	for (int i = 0; i < n; i++)
	{
		EbSubscription *sub = list_nth(subs, (start + i) % n);
		bool		resumed = (i == 0 && sub->id == resume.subscription_id);

		if (eb_lane_next_due(sub->shared, sub->id) > now)
			continue;
		if (!sweep_subscription(&sweep, sub, resumed))
			break;
		resume.subscription_id = 0;
	}
	if (sweep.buried > 0)
		CommandCounterIncrement();
	MemoryContextDelete(sweep.scratch);
	return sweep.buried;
}
