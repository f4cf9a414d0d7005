/*
 * queue_store.c
 *	  The tables that the queue is stored in, opened as they are needed.
 *
 * New rows go to the current store.  Who inserts locks it and then looks whether it
 * still is: so once the relay has made another one current, and nobody holds a lock
 * that was taken before, nothing can appear in the old one (queue_rotate.c).  Rows
 * are changed where they are.
 *
 * Readers leave out what is empty.  A store is locked until the transaction's end,
 * like any table, but not while a consumer sleeps that has taken nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/index.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "queue.h"
#include "store.h"

/* Opens the queue in the current memory context; no table of it yet. */
EbQueue *
eb_queue_open(LOCKMODE lockmode)
{
	EbQueue    *queue = palloc0(sizeof(EbQueue));

	queue->context = CurrentMemoryContext;
	queue->lockmode = lockmode;
	queue->ring = &eb_shmem_db()->queue;
	queue->target = -1;
	return queue;
}

static void
close_store(EbStore *store, LOCKMODE lockmode)
{
	if (store->rel == NULL)
		return;
	ExecDropSingleTupleTableSlot(store->slot);
	index_close(store->index_lane, lockmode);
	index_close(store->index_seq, lockmode);
	table_close(store->rel, lockmode);
	memset(store, 0, sizeof(EbStore));
}

/* Closes it; the locks stay until the transaction's end. */
void
eb_queue_close(EbQueue *queue)
{
	for (int i = 0; i < EB_STORES; i++)
		close_store(&queue->stores[i], NoLock);
	pfree(queue);
}

/* Closes the tables and gives their locks back: nothing was changed.  It stays usable. */
void
eb_queue_release(EbQueue *queue)
{
	for (int i = 0; i < EB_STORES; i++)
		close_store(&queue->stores[i], queue->lockmode);
	queue->target = -1;
}

/* A store, opened. */
EbStore *
eb_queue_store(EbQueue *queue, int i)
{
	EbStore    *store = &queue->stores[i];
	const EbStoreOids *oids;
	MemoryContext old;

	Assert(i >= 0 && i < EB_STORES);
	if (likely(store->rel != NULL))
		return store;
	oids = &eb_catalog()->queue[i];
	old = MemoryContextSwitchTo(queue->context);
	store->rel = table_open(oids->table, queue->lockmode);
	store->index_seq = index_open(oids->index[0], queue->lockmode);
	store->index_lane = index_open(oids->index[1], queue->lockmode);
	store->info_seq = BuildIndexInfo(store->index_seq);
	store->info_lane = BuildIndexInfo(store->index_lane);
	store->slot = MakeSingleTupleTableSlot(RelationGetDescr(store->rel), &TTSOpsHeapTuple);
	MemoryContextSwitchTo(old);
	return store;
}

/* The store to insert into, which is queue->target then. */
EbStore *
eb_queue_target(EbQueue *queue)
{
	while (queue->target < 0)
	{
		int			current = eb_ring_current(eb_ring_state(queue->ring));
		bool		opened = (queue->stores[current].rel != NULL);

		(void) eb_queue_store(queue, current);
		if (eb_ring_current(eb_ring_state(queue->ring)) == current)
			queue->target = current;
		else if (!opened)
			close_store(&queue->stores[current], queue->lockmode);
	}
	return &queue->stores[queue->target];
}

/* Opens all that may have live rows, and returns the state that says which. */
uint32
eb_queue_look(EbQueue *queue)
{
	uint32		state = eb_ring_state(queue->ring);

	for (int i = 0; i < EB_STORES; i++)
		if (!eb_ring_empty(state, i))
			(void) eb_queue_store(queue, i);
	return state;
}

/*
 * A new snapshot, registered; all that it can see of the queue is in stores that
 * are open.  They were locked before it was taken, or one that it can see rows of
 * might be truncated meanwhile.
 */
Snapshot
eb_queue_snapshot(EbQueue *queue)
{
	for (;;)
	{
		uint32		state = eb_queue_look(queue);
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

		if (eb_ring_state(queue->ring) == state)
			return snapshot;
		UnregisterSnapshot(snapshot);
	}
}
