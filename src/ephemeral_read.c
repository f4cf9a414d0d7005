/*
 * ephemeral_read.c
 *	  What of the log waits for an ephemeral subscription.
 *
 * Looked at when somebody fetches, not when it is committed: between two fetches
 * a subscription costs nothing.  The position moves with every event looked at, so
 * that an interrupted look goes on where it stopped.
 */
#include "postgres.h"

#include "access/genam.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "ephemeral.h"
#include "log.h"

/* How far back a new subscription looks for events to begin with. */
#define LOOK_BACK_MAX	1000000
#define LOOK_BACK_STEP	1000

static bool
matches(const EbEphemeral *sub, TupleTableSlot *event, MemoryContext scratch)
{
	bool		isnull;
	text	   *type = DatumGetTextPP(slot_getattr(event, EB_LOG_TYPE, &isnull));
	MemoryContext old;
	bool		matched;

	if (!eb_topic_match(sub->topics, VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type)))
		return false;
	if (sub->filter == NULL)
		return true;
	old = MemoryContextSwitchTo(scratch);
	matched = eb_filter_match(sub->filter, event, NULL);
	MemoryContextSwitchTo(old);
	MemoryContextReset(scratch);
	return matched;
}

static MemoryContext
make_scratch(void)
{
	return AllocSetContextCreate(CurrentMemoryContext, "eventbus filter",
								 ALLOCSET_DEFAULT_SIZES);
}

static int64
offset_of(TupleTableSlot *event)
{
	bool		isnull;

	return DatumGetInt64(slot_getattr(event, EB_LOG_OFFSET, &isnull));
}

/*
 * The matching offsets of first..last, the latest n at most, put in front of
 * end; returns how many.
 */
static int
latest_matches(const EbEphemeral *sub, int64 first, int64 last, Snapshot snapshot,
			   int64 *end, int n)
{
	MemoryContext scratch = make_scratch();
	EbLogScan  *scan = eb_log_scan_begin(first, last, snapshot);
	int64	   *ring = palloc(n * sizeof(int64));
	int64		found = 0;
	int			kept;
	TupleTableSlot *event;

	while ((event = eb_log_scan_next(scan)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (matches(sub, event, scratch))
			ring[found++ % n] = offset_of(event);
	}
	eb_log_scan_end(scan);
	MemoryContextDelete(scratch);
	kept = (int) Min(found, n);
	for (int i = 0; i < kept; i++)
		end[-1 - i] = ring[(found - 1 - i) % n];
	pfree(ring);
	return kept;
}

/* The offset before the n latest matching events. */
int64
eb_ephemeral_replay_start(const EbEphemeral *sub, int64 safe, int n, Snapshot snapshot)
{
	int64		floor = Max(safe - LOOK_BACK_MAX, 0);
	int64		last = safe;
	int64		step = LOOK_BACK_STEP;
	int64	   *end;
	int			found = 0;

	if (n == 0)
		return safe;
	end = (int64 *) palloc(n * sizeof(int64)) + n;
	while (found < n && last > floor)
	{
		int64		first = Max(last - step, floor) + 1;

		found += latest_matches(sub, first, last, snapshot, end - found, n - found);
		last = first - 1;
		step *= 4;
	}
	return found == 0 ? safe : end[-found] - 1;
}

/* Adds an event to what waits; the oldest makes room. */
static void
push(EbEphemeral *sub, TupleTableSlot *event)
{
	EbEphemeralEvent *e;
	Datum		value;
	bool		isnull;

	if (sub->nwaiting >= sub->max_waiting)
	{
		sub->waiting++;
		sub->nwaiting--;
		sub->dropped++;
	}
	if (sub->waiting + sub->nwaiting >= sub->room + 2 * sub->max_waiting)
	{
		memmove(sub->room, sub->waiting, sub->nwaiting * sizeof(EbEphemeralEvent));
		sub->waiting = sub->room;
	}
	e = &sub->waiting[sub->nwaiting++];
	e->offset = offset_of(event);
	e->priority = DatumGetInt16(slot_getattr(event, EB_LOG_PRIORITY, &isnull));
	value = slot_getattr(event, EB_LOG_DELIVER_AT, &isnull);
	e->due = isnull ? 0 : DatumGetTimestampTz(value);
}

/* Looks at the log up to the safe offset. */
void
eb_ephemeral_gather(EbEphemeral *sub, int64 safe, Snapshot snapshot)
{
	MemoryContext scratch;
	EbLogScan  *scan;
	TupleTableSlot *event;

	if (sub->position >= safe)
		return;
	scratch = make_scratch();
	scan = eb_log_scan_begin(sub->position + 1, safe, snapshot);
	while ((event = eb_log_scan_next(scan)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (matches(sub, event, scratch))
			push(sub, event);
		sub->position = offset_of(event);
	}
	sub->position = safe;
	eb_log_scan_end(scan);
	MemoryContextDelete(scratch);
}
