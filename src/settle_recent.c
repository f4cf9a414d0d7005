/*
 * settle_recent.c
 *	  What this session has fetched lately, so that it is settled without a search.
 *
 * Most receipts come back to the session that fetched them.  It remembers where
 * the row was, and which events it had: then neither the queue's index nor the log
 * need be asked.  What is remembered is a hint.  A row is taken from there only if a
 * snapshot of now sees it and it has the number and token; its events only if they
 * are as many as the row says.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "settle_recent.h"
#include "store.h"

/* Powers of two: a delivery's entry is found by its number. */
#define RECENT_DELIVERIES	128
#define RECENT_EVENTS		4096

typedef struct Recent
{
	int64		receipt;		/* 0 = none */
	int16		store;
	ItemPointerData tid;
	uint64		first;			/* its events, numbered for ever */
	int			n;
} Recent;

static Recent recents[RECENT_DELIVERIES];
static EbRecentEvent *events = NULL;	/* a ring */
static uint64 next_event = 0;

static Recent *
entry_of(int64 receipt)
{
	return &recents[eb_receipt_seq(receipt) % RECENT_DELIVERIES];
}

/* See settle_recent.h. */
void
eb_recent_delivery(const EbDelivery *d)
{
	Recent	   *recent = entry_of(eb_receipt(d));

	if (events == NULL)
		events = MemoryContextAlloc(TopMemoryContext, RECENT_EVENTS * sizeof(EbRecentEvent));
	recent->receipt = eb_receipt(d);
	recent->store = d->store;
	recent->tid = d->tid;
	recent->first = next_event;
	recent->n = 0;
}

/* See settle_recent.h. */
void
eb_recent_event(const EbDelivery *d, int64 offset, const pg_uuid_t *id)
{
	EbRecentEvent *event = &events[next_event++ % RECENT_EVENTS];

	event->offset = offset;
	event->id = *id;
	entry_of(eb_receipt(d))->n++;
}

/* See settle_recent.h. */
void
eb_recent_moved(const EbDelivery *d)
{
	Recent	   *recent = entry_of(eb_receipt(d));

	if (recent->receipt != eb_receipt(d))
		return;
	recent->store = d->store;
	recent->tid = d->tid;
}

/* The row at a place that may be out of date, or not even exist any more. */
static bool
fetch_row(EbStore *store, ItemPointer tid, int64 receipt, EbDelivery *d)
{
	Snapshot	snapshot;
	TupleTableSlot *slot;
	bool		found;

	if (ItemPointerGetBlockNumber(tid) >= RelationGetNumberOfBlocks(store->rel))
		return false;			/* truncated meanwhile */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(store->rel, NULL);
	found = table_tuple_fetch_row_version(store->rel, tid, snapshot, slot);
	if (found)
	{
		eb_queue_decode(slot, d);
		found = (eb_receipt(d) == receipt && d->lease_until != 0);
	}
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return found;
}

/* See settle_recent.h. */
bool
eb_recent_find(EbQueue *queue, int64 receipt, EbDelivery *d)
{
	Recent	   *recent = entry_of(receipt);

	if (receipt == EB_NO_RECEIPT || recent->receipt != receipt)
		return false;
	return fetch_row(eb_queue_store(queue, recent->store), &recent->tid, receipt, d);
}

/* See settle_recent.h. */
EbRecentEvent *
eb_recent_events(const EbDelivery *d)
{
	const Recent *recent = entry_of(eb_receipt(d));
	EbRecentEvent *found;
	int			n = 0;
	int			listed = 0;

	if (recent->receipt != eb_receipt(d) || next_event - recent->first > RECENT_EVENTS)
		return NULL;
	found = palloc(Max(recent->n, 1) * sizeof(EbRecentEvent));
	for (int i = 0; i < recent->n; i++)
	{
		const EbRecentEvent *event = &events[(recent->first + i) % RECENT_EVENTS];

		if (event->offset < d->first_offset || event->offset > d->last_offset)
			continue;
		while (d->offsets != NULL && d->offsets[listed] < event->offset)
			listed++;			/* its last is in the range, so it ends */
		if (d->offsets == NULL || d->offsets[listed] == event->offset)
			found[n++] = *event;
	}
	if (n == d->events)
		return found;
	pfree(found);
	return NULL;
}
