/*
 * queue_rotate.c
 *	  Giving back the space of dead rows while somebody keeps vacuum from it.
 *
 * The life of a store, a step a second at most, by who holds the lock of passes:
 *
 *	current		takes what is inserted, until it is larger than
 *				eventbus.queue_rotate_size and another is clean
 *	left		once no session is at work on it that may not have seen that it is
 *				not current any more, nothing can be inserted there (sealed);
 *				consumers empty it.  Where few rows are left, those are moved to
 *				the current store, under their numbers and tokens
 *	empty		one snapshot after the sealing has seen no row: consumers leave it out
 *	clean		truncated: it may become current again
 *
 * Nothing waits for a lock.  What is found in a store is copied to another only if it
 * is less than a quarter of the space that is won, so the space in use stays within
 * a multiple of what is in flight, and so does the work.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "guc.h"
#include "hold.h"
#include "queue.h"
#include "store.h"

/* Consumers are about to take the last rows of a store that was just left. */
#define MOVE_AFTER_MS	1000

/*
 * What one look reads and moves at most; it rests a hundred times as long, within
 * a bound.
 */
#define LOOK_BLOCKS		2048
#define MOVE_MAX		1000
#define REST_PER_LOOK	100
#define REST_MAX_US		(10 * USECS_PER_SEC)

/* Moving is worth it for this part of the space that it wins, or less. */
#define MOVE_SHARE		4

/* What a row takes beside its tuple: index entries, line pointer. */
#define ROW_OVERHEAD	64

/* Rows found in a part of a store. */
typedef struct Look
{
	BlockNumber from;
	BlockNumber end;
	int64		live;			/* bytes of live rows */
	List	   *rows;			/* of EbDelivery, up to MOVE_MAX */
} Look;

/* Where this process's next look at a store begins, and when. */
static struct
{
	BlockNumber block;
	BlockNumber idle;			/* blocks without a live row up to there */
	TimestampTz at;
} next_look[EB_STORES];

/* Forgets what hints say: rows have come from elsewhere. */
static void
rewind_lanes(void)
{
	ListCell   *lc;

	foreach(lc, eb_subscription_all(NULL))
	{
		EbSubscription *sub = lfirst(lc);

		eb_lane_rewind(sub->shared, sub->id);
		eb_wake_consumers(sub->shared, PG_INT32_MAX);
	}
}

/* Collects what is alive from block "from" on. */
static void
look(Relation rel, Snapshot snapshot, Look *found)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData first;
	ItemPointerData last;
	TableScanDesc scan;

	ItemPointerSet(&first, found->from, FirstOffsetNumber);
	ItemPointerSet(&last, found->end - 1, MaxOffsetNumber);
	scan = table_beginscan_tidrange(rel, snapshot, &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		found->live += ExecFetchSlotHeapTuple(slot, false, NULL)->t_len + ROW_OVERHEAD;
		if (list_length(found->rows) < MOVE_MAX)
		{
			EbDelivery *d = palloc(sizeof(EbDelivery));

			eb_queue_decode(slot, d);
			found->rows = lappend(found->rows, d);
		}
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Moves rows to the current store, except those that somebody is at work on.  Hints
 * are lowered before the old row dies, as for a split, and once more at commit.
 */
static void
move(EbQueue *queue, List *rows)
{
	ListCell   *lc;

	foreach(lc, rows)
	{
		EbDelivery *d = lfirst(lc);
		EbSubscription *sub = eb_subscription_by_id(d->subscription_id);

		CHECK_FOR_INTERRUPTS();
		if (sub == NULL || eb_queue_delete(queue, d, false) != TM_Ok)
			continue;
		eb_queue_move(queue, d);
		(void) eb_lane_lower(sub->shared, sub->id, d->lane, d->position);
		eb_queue_released(sub->shared, d);
	}
	CommandCounterIncrement();	/* eb_relay_run may bury them next */
	eb_hold("moved");
}

/* Whether no row of the store is alive at all, however large it is. */
static bool
is_empty(Relation rel, Snapshot snapshot)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	bool		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return !found;
}

/* The same, for a store that nobody else can have open. */
static bool
is_unused(Relation rel)
{
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	return is_empty(rel, &dirty);
}

static bool
has_clean(uint32 state)
{
	for (int i = 0; i < EB_STORES; i++)
		if (eb_ring_clean(state, i))
			return true;
	return false;
}

/*
 * Looks at a part of a sealed store: nothing comes in, but rows are changed, so only
 * a look at the whole in one snapshot tells that it is empty.
 */
static void
look_at(EbQueue *queue, int i, uint32 state)
{
	Relation	rel = eb_queue_store(queue, i)->rel;
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Look		found = {0};
	int64		space;

	if (next_look[i].block >= blocks || blocks <= LOOK_BLOCKS)
		next_look[i].block = 0;
	found.from = next_look[i].block;
	found.end = Min(blocks, found.from + LOOK_BLOCKS);
	if (blocks > 0)
		look(rel, snapshot, &found);
	next_look[i].idle = (found.live > 0) ? 0 : next_look[i].idle + found.end - found.from;
	if (list_length(found.rows) < MOVE_MAX)
		next_look[i].block = found.end;
	if (next_look[i].idle >= blocks)
	{
		next_look[i].idle = 0;
		if (found.end - found.from == blocks || is_empty(rel, snapshot))
			eb_ring_note_empty(queue->ring, i);
	}
	UnregisterSnapshot(snapshot);

	space = (int64) (found.end - found.from) * BLCKSZ;
	if (!has_clean(state))
		space = Max(space, eb_store_size(eb_catalog()->queue[eb_ring_current(state)].table));
	if (found.live * MOVE_SHARE <= space)
		move(queue, found.rows);
}

/* A step for a store that was left and may have rows. */
static void
empty_store(EbRing *ring, int i, uint32 state)
{
	bool		rests = AmBackgroundWorkerProcess();	/* nobody waits for a session */
	Oid			table = eb_catalog()->queue[i].table;
	TimestampTz begun = GetCurrentTimestamp();
	EbQueue    *queue;

	if (rests && (begun < next_look[i].at ||
				  !TimestampDifferenceExceeds(ring->left_at[i], begun, MOVE_AFTER_MS)))
		return;
	if (!ring->sealed[i])
		ring->sealed[i] = eb_store_seal(table);
	if (!ring->sealed[i])
		return;
	queue = eb_queue_open(RowExclusiveLock);
	look_at(queue, i, state);
	eb_queue_close(queue);
	next_look[i].at = begun + Min(REST_PER_LOOK * (GetCurrentTimestamp() - begun), REST_MAX_US);
}

/* A step for a store that is empty. */
static void
truncate_store(EbRing *ring, int i, uint32 state)
{
	Oid			table = eb_catalog()->queue[i].table;
	bool		theirs = false;

	if (eb_ring_clean(state, i))
		theirs = eb_store_has_rows(table);
	else if (eb_store_is_clean(table))
		eb_ring_note_clean(ring, i);
	else if (eb_store_may_truncate(ring, i, table))
		theirs = !eb_store_truncate(table, is_unused);
	if (theirs)					/* rows of a dump, for example */
	{
		eb_ring_forget(ring, i);
		rewind_lanes();
	}
}

/* Makes a clean store current if the current one is large. */
static void
switch_store(EbRing *ring)
{
	const EbStoreOids *stores = eb_catalog()->queue;
	uint32		state = eb_ring_state(ring);
	int			current = eb_ring_current(state);

	if (eb_queue_rotate_size == 0 || !has_clean(state) ||
		eb_store_size(stores[current].table) < eb_queue_rotate_size * INT64CONST(1024))
		return;
	for (int k = 1; k < EB_STORES; k++)
	{
		int			i = (current + k) % EB_STORES;

		if (eb_ring_clean(state, i) && !eb_store_mine(stores[i].table))
		{
			eb_ring_switch(ring, i);
			return;
		}
	}
}

/*
 * A step for each store; passes are locked.  What this transaction has changed it
 * sees before it is committed, so it leaves those stores alone.
 */
void
eb_queue_rotate(EbDb *db)
{
	EbRing	   *ring = &db->queue;
	uint32		state = eb_ring_state(ring);

	for (int k = 1; k < EB_STORES; k++)
	{
		int			i = (eb_ring_current(state) + k) % EB_STORES;

		if (eb_store_mine(eb_catalog()->queue[i].table))
			continue;
		if (eb_ring_empty(state, i))
			truncate_store(ring, i, state);
		else
			empty_store(ring, i, state);
	}
	switch_store(ring);
}
