/*
 * queue_claim.c
 *	  Leasing what is available in a subscription's lanes.
 *
 * Rows are visited in the order of the lane, whatever store they are in, from its
 * hint on, under a dirty snapshot: it shows every row that is not dead, with who is at work on it, and
 * that is just what a hint may be derived from.  Taking a row is an update that
 * does not wait: who comes second goes on (SKIP LOCKED).
 *
 * An ordered lane hands out its first live row or nothing.  The scan may see a
 * row dead whose successors in the same place (a split) it has passed already;
 * their insertion has counted the lane's generation up before the row died, so
 * comparing generations after the look and before the take keeps the order.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "fault.h"
#include "queue.h"
#include "store.h"

#define ORDERED_RETRIES 3

/*
 * Ageing: every eighth claim of a subscription begins with the lane whose first
 * available event is the oldest, whatever its priority, so a steady stream of
 * urgent events leaves the others an eighth of the consumers' turns.
 */
#define AGEING_TURN 8

/* A batch of more events than this is not split to fill up a fetch. */
#define SPLIT_MAX 16

/*
 * Where the fetch is large, retries that have been due for less than this come after what
 * is new: so they gather in few deliveries, instead of each becoming a small
 * fetch as soon as it is due.
 */
#define RETRY_SLACK		5000	/* us */

/*
 * One claim in so many begins at the lane's head, fewer the longer the last one took:
 * where a long lease keeps the head down it costs each claim this much at most.
 */
#define HEAD_TURN 64
#define HEAD_US 4

/* A row that somebody is at work on is looked at again after this time. */
#define LOCKED_RECHECK	USECS_PER_SEC

typedef enum Verdict
{
	VERDICT_TAKE,
	VERDICT_UNCOMMITTED,		/* being inserted by somebody else */
	VERDICT_TAKEN,				/* leased, locked, or not due */
	VERDICT_LATER				/* timed lane: this and all after it */
} Verdict;

/* The lane's rows in one store. */
typedef struct StoreScan
{
	SnapshotData dirty;
	IndexScanDesc scan;
	TupleTableSlot *slot;		/* the next row, if there is one */
	int64		position;		/* its position; EB_LANE_EMPTY at the end */
} StoreScan;

typedef struct LaneScan
{
	EbQueue    *queue;
	EbClaim    *claim;
	int			lane;
	EbLane		seen;			/* hints at the start */
	int64		head;			/* first live row, EB_LANE_EMPTY if none */
	int64		avail;			/* first row that may be taken, likewise */
	int			nstores;
	StoreScan	stores[EB_STORES];
	StoreScan  *row;			/* whose row is looked at; NULL before the first */
} LaneScan;

static char *
consumer_name(void)
{
	return psprintf("%s/%d", application_name && application_name[0] ? application_name : "-",
					MyProcPid);
}

/* Fetches the next row of a store. */
static void
advance(StoreScan *store)
{
	bool		isnull;

	if (index_getnext_slot(store->scan, ForwardScanDirection, store->slot))
		store->position = DatumGetInt64(slot_getattr(store->slot, EB_QUEUE_POSITION, &isnull));
	else
		store->position = EB_LANE_EMPTY;
}

/*
 * The hints were read before; a store that became current since is looked at too,
 * since what is in it may have lowered them.
 */
static void
scan_begin(LaneScan *s, int64 from)
{
	uint32		state = eb_queue_look(s->queue);
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(s->claim->sub->id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(s->lane));
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
	s->head = s->avail = EB_LANE_EMPTY;
	s->row = NULL;
	s->nstores = 0;
	for (int i = 0; i < EB_STORES; i++)
	{
		EbStore    *table = &s->queue->stores[i];
		StoreScan  *store = &s->stores[s->nstores];

		if (eb_ring_empty(state, i))
			continue;
		s->nstores++;
		InitDirtySnapshot(store->dirty);
		store->slot = table_slot_create(table->rel, NULL);
		store->scan = eb_index_beginscan(table->rel, table->index_lane, &store->dirty, 3);
		index_rescan(store->scan, keys, 3, NULL, 0);
		advance(store);
	}
}

/* Goes to the next row by position; false at the end. */
static bool
scan_next(LaneScan *s)
{
	StoreScan  *next = &s->stores[0];

	if (s->row != NULL)
		advance(s->row);
	for (int i = 1; i < s->nstores; i++)
		if (s->stores[i].position < next->position)
			next = &s->stores[i];
	s->row = next;
	return next->position != EB_LANE_EMPTY;
}

static void
scan_end(LaneScan *s)
{
	for (int i = 0; i < s->nstores; i++)
	{
		index_endscan(s->stores[i].scan);
		ExecDropSingleTupleTableSlot(s->stores[i].slot);
	}
}

/* Looks at the row that the scan has come to. */
static Verdict
judge(LaneScan *s, EbDelivery *d)
{
	EbClaim    *claim = s->claim;
	bool		inserting = TransactionIdIsValid(s->row->dirty.xmin);
	bool		locked = TransactionIdIsValid(s->row->dirty.xmax);

	eb_queue_decode(s->row->slot, d);
	if (inserting)
		return VERDICT_UNCOMMITTED;
	if (locked)
	{
		eb_lane_due(claim->sub->shared, claim->sub->id,
					Max(d->lease_until, claim->now + LOCKED_RECHECK));
		return VERDICT_TAKEN;
	}
	if (d->lease_until > claim->now && !EB_FAULT("lease_ignored"))
	{
		eb_lane_due(claim->sub->shared, claim->sub->id, d->lease_until);
		return VERDICT_TAKEN;
	}
	if (eb_lane_timed(s->lane) && d->position > claim->now)
		return VERDICT_LATER;
	if (d->due_at > claim->now)
	{
		eb_lane_due(claim->sub->shared, claim->sub->id, d->due_at);
		return VERDICT_TAKEN;
	}
	return VERDICT_TAKE;
}

/* Stamps the lease on d, as it is in memory. */
static void
stamp(EbClaim *claim, EbDelivery *d)
{
	d->token++;
	d->attempt++;
	d->lease_until = claim->now + claim->lease;
	d->consumer = consumer_name();
	if (d->first_delivered_at == 0)
		d->first_delivered_at = claim->now;
}

static void
took(LaneScan *s, EbDelivery *d)
{
	EbClaim    *claim = s->claim;
	EbDelivery *copy = palloc(sizeof(EbDelivery));

	*copy = *d;
	claim->deliveries = lappend(claim->deliveries, copy);
	claim->taken += d->events;
	eb_lane_due(claim->sub->shared, claim->sub->id, d->lease_until);
	eb_queue_claimed(claim->sub->shared, d);
}

/*
 * Tells the others of a row that we put into the lane.  If nobody else has done
 * so since this scan began, the scan may still advance the hints.
 */
static void
announce(LaneScan *s, const EbDelivery *d)
{
	uint32		generation = eb_lane_lower(s->claim->sub->shared, d->subscription_id,
										   d->lane, d->position);

	if (generation == s->seen.generation + 1)
		s->seen.generation = generation;
}

/* Puts a part that nobody takes now back as a row of its own. */
static void
put_back(LaneScan *s, const EbDelivery *from, const int64 *offsets, int n)
{
	EbDelivery	rest = *from;

	eb_queue_set_offsets(&rest, offsets, n);
	rest.lease_until = 0;
	rest.consumer = NULL;
	if (!eb_lane_timed(rest.lane))
		rest.position = rest.first_offset;
	eb_queue_insert(s->queue, &rest);
	announce(s, &rest);
	s->avail = Min(s->avail, rest.position);
}

/* Takes the first n events of d, a fresh delivery of more, and puts back the rest. */
static bool
take_part(LaneScan *s, EbDelivery *d, int n)
{
	EbDelivery	whole = *d;
	int			total;
	int64	   *offsets = eb_queue_offsets(d, &total);

	if (total > n)
		eb_queue_set_offsets(d, offsets, n);
	stamp(s->claim, d);
	if (eb_queue_update(s->queue, d, false) != TM_Ok)
		return false;
	if (total > n)
		put_back(s, &whole, offsets + n, total - n);
	took(s, d);
	return true;
}

/*
 * Takes up to n events of d, which has failed, each as a delivery of its
 * own, so that one poisonous event cannot spend its neighbours' attempts.
 */
static bool
take_singly(LaneScan *s, EbDelivery *d, int n)
{
	int			total;
	int64	   *offsets = eb_queue_offsets(d, &total);

	if (eb_queue_delete(s->queue, d, false) != TM_Ok)
		return false;
	for (int i = 0; i < Min(n, total); i++)
	{
		EbDelivery	single;

		(void) eb_queue_part(d, &offsets[i], 1, &single);
		eb_queue_set_offsets(&single, &offsets[i], 1);
		if (!eb_lane_timed(single.lane))
			single.position = single.first_offset;
		stamp(s->claim, &single);
		eb_queue_insert(s->queue, &single);
		announce(s, &single);
		took(s, &single);
	}
	d->due_at = 0;				/* the rest comes singly, too */
	if (total > n)
		put_back(s, d, offsets + n, total - n);
	return true;
}

/* Makes dead letters of d's events. */
static bool
bury(LaneScan *s, EbDelivery *d)
{
	if (!eb_queue_bury(s->queue, s->claim->sub, d))
		return false;
	s->claim->buried += d->events;
	return true;
}

/*
 * A batch that failed comes back event by event, unless a consumer named its events
 * in a nack (then it has a due time) and has another attempt left to say which of
 * them it is: a lease that runs out never spends the last attempt of a neighbour.
 * In an ordered lane it always does: what follows waits for it.
 */
static bool
must_split(const EbSubscription *sub, const EbDelivery *d)
{
	bool		nacked = (d->lease_until == 0 && d->due_at != 0 && d->lane < EB_LANE_ORDERED);

	return d->attempt > 0 && !(nacked && d->attempt + 1 < sub->max_attempts);
}

/* Takes d or what may be taken of it; false if somebody else was faster. */
static bool
take(LaneScan *s, EbDelivery *d)
{
	int			room = s->claim->max_events - s->claim->taken;

	if (d->lease_until != 0)
	{
		eb_queue_expire(s->claim->sub, d);
		if (d->attempt >= s->claim->sub->max_attempts)
			return bury(s, d);
		pg_atomic_fetch_add_u64(&s->claim->sub->shared->retried, d->events);
	}
	if (d->events > 1 && must_split(s->claim->sub, d))
		return take_singly(s, d, s->lane >= EB_LANE_ORDERED ? 1 : room);
	if (d->events > room)
		return take_part(s, d, room);
	stamp(s->claim, d);
	if (eb_queue_update(s->queue, d, false) != TM_Ok)
		return false;
	took(s, d);
	return true;
}

/*
 * Whether d must wait for the next claim.  Where something was taken already a large
 * batch is not split to fill the last places: its parts would cost more than they
 * bring, and a retry or two would set off such cuts for ever.
 */
static bool
no_room(EbClaim *claim, const EbDelivery *d)
{
	int			room = claim->max_events - claim->taken;

	if (room <= 0 || (claim->taken > 0 && d->events > Max(room, SPLIT_MAX) &&
					  d->lease_until == 0 && !must_split(claim->sub, d)))
		claim->full = true;
	return claim->full;
}

/* A lane without an order between its rows. */
static void
claim_unordered(LaneScan *s)
{
	bool		from_head = (s->seen.avail <= s->seen.head);
	instr_time	begun;
	instr_time	spent;
	EbDelivery	d;

	if (from_head)
		INSTR_TIME_SET_CURRENT(begun);
	scan_begin(s, s->seen.avail);
	while (scan_next(s))
	{
		Verdict		verdict;

		CHECK_FOR_INTERRUPTS();
		verdict = judge(s, &d);
		s->head = Min(s->head, d.position);
		if (verdict == VERDICT_UNCOMMITTED)
			s->avail = Min(s->avail, d.position);
		else if (verdict == VERDICT_LATER ||
				 (verdict == VERDICT_TAKE && no_room(s->claim, &d)))
		{
			s->avail = Min(s->avail, d.position);
			break;
		}
		else if (verdict == VERDICT_TAKE)
			(void) take(s, &d);
	}
	scan_end(s);
	eb_lane_advance(s->claim->sub->shared, s->claim->sub->id, s->lane, &s->seen,
					from_head ? s->head : s->seen.head, s->avail);
	if (from_head)
	{
		INSTR_TIME_SET_CURRENT(spent);
		INSTR_TIME_SUBTRACT(spent, begun);
		eb_lane_rest(s->claim->sub->shared, s->claim->sub->id, s->lane,
					 Max(HEAD_TURN, INSTR_TIME_GET_MICROSEC(spent) / HEAD_US));
	}
}

/*
 * The row of an ordered lane that is next, in *d.  Rows with one position are the
 * parts of one batch: if any of them is out of reach, all are; else the one with
 * the lowest offset is next.
 */
static Verdict
first_of_lane(LaneScan *s, EbDelivery *d)
{
	Verdict		verdict = VERDICT_TAKEN;
	EbDelivery	row;

	scan_begin(s, s->seen.head);
	while (scan_next(s))
	{
		Verdict		v = judge(s, &row);

		if (s->head == EB_LANE_EMPTY)
		{
			s->head = row.position;
			verdict = v;
			*d = row;
		}
		else if (row.position != s->head)
			break;
		else if (v != VERDICT_TAKE)
			verdict = v;
		else if (row.first_offset < d->first_offset)
			*d = row;
		if (verdict != VERDICT_TAKE)
			break;
	}
	scan_end(s);
	return verdict;
}

/*
 * A lane in strict order: its first live row, if that may be taken.  Afterwards
 * nothing of the lane may be taken until something is released there.
 */
static void
claim_ordered(LaneScan *s)
{
	EbDelivery	d;

	for (int i = 0; i < ORDERED_RETRIES; i++)
	{
		Verdict		verdict = first_of_lane(s, &d);
		bool		leave = (verdict == VERDICT_UNCOMMITTED ||
							 (verdict == VERDICT_TAKE && no_room(s->claim, &d)));
		EbLane		now;

		eb_lane_read(s->claim->sub->shared, s->claim->sub->id, s->lane, &now);
		if (now.generation != s->seen.generation)
		{
			s->seen = now;
			continue;
		}
		eb_lane_advance(s->claim->sub->shared, s->claim->sub->id, s->lane, &s->seen,
						s->head, leave ? s->head : EB_LANE_EMPTY);
		if (verdict == VERDICT_TAKE && !leave)
			(void) take(s, &d);
		return;
	}
	/* The lane is busy: the hints still say that something may be there. */
}

static void
claim_lane(EbQueue *queue, EbClaim *claim, int lane)
{
	LaneScan	s = {.queue = queue, .claim = claim, .lane = lane};

	if (claim->full || claim->taken >= claim->max_events)
		return;
	if (lane >= EB_LANE_ORDERED)
		eb_lane_read(claim->sub->shared, claim->sub->id, lane, &s.seen);
	else
		eb_lane_begin(claim->sub->shared, claim->sub->id, lane, &s.seen);
	if (s.seen.avail == EB_LANE_EMPTY ||
		(eb_lane_timed(lane) && s.seen.avail > claim->now))
		return;
	if (lane >= EB_LANE_ORDERED && !EB_FAULT("order_ignored"))
		claim_ordered(&s);
	else
		claim_unordered(&s);
}

/* Claims from the lane with the oldest event; a lane not looked at yet may be it. */
static void
claim_oldest(EbQueue *queue, EbClaim *claim)
{
	int			last = -1;

	for (int i = 0; i < EB_LANE_COUNT && claim->taken == 0; i++)
	{
		int			lane = eb_lane_oldest(claim->sub->shared, claim->sub->id);

		if (lane == last)
			break;
		claim_lane(queue, claim, lane);
		last = lane;
	}
}

static bool
retries_first(const EbClaim *claim)
{
	EbLane		hints;

	eb_lane_read(claim->sub->shared, claim->sub->id, EB_LANE_RETRY, &hints);
	return claim->max_events <= SPLIT_MAX || hints.avail <= claim->now - RETRY_SLACK;
}

/*
 * Leases up to claim->max_events events and lists their deliveries: what is to be
 * retried or was delayed and is due, then by priority, but see AGEING_TURN.  Allocates in the
 * current context.  What it leaves for lack of room keeps its hints, and the
 * due times are looked at anew by the next call.
 */
void
eb_queue_claim(EbQueue *queue, EbClaim *claim)
{
	static uint32 turn = 0;
	EbSubscription *sub = claim->sub;
	bool		rescan = eb_lane_take_due(sub->shared, sub->id, claim->now) <= claim->now;
	bool		retry_first = retries_first(claim);

	if (claim->max_events <= claim->taken)
		return;
	claim->full = false;
	if (pg_atomic_fetch_add_u32(&sub->shared->claims, 1) % AGEING_TURN == AGEING_TURN - 1)
		claim_oldest(queue, claim);
	if (retry_first)
		claim_lane(queue, claim, EB_LANE_RETRY);
	claim_lane(queue, claim, EB_LANE_DELAYED);
	for (int lane = 0; lane < EB_LANE_PRIORITIES; lane++)
		claim_lane(queue, claim, lane);
	turn++;
	for (int i = 0; i < EB_ORDERED_LANES; i++)	/* also if it was ordered once */
		claim_lane(queue, claim, EB_LANE_ORDERED + (turn + i) % EB_ORDERED_LANES);
	if (!retry_first)
		claim_lane(queue, claim, EB_LANE_RETRY);

	/* Lanes that a full claim did not reach may hold something due. */
	if (rescan && (claim->full || claim->taken >= claim->max_events))
		eb_lane_due(sub->shared, sub->id, claim->now);
	pg_atomic_fetch_add_u64(&sub->shared->fetched, claim->taken);
	if (claim->taken > 0 || claim->buried > 0)
		CommandCounterIncrement();
}
