/*
 * ephemeral_fetch.c
 *	  eb_fetch on an ephemeral subscription.
 *
 * There is no lease and nothing to acknowledge: what is returned is done with.  A
 * waiting call sleeps until the relay has made a pass or, where none runs, until
 * something is committed, and at the latest until a delayed event is due.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "delivery_row.h"
#include "ephemeral.h"
#include "log.h"
#include "shmem.h"

/* A wake-up can be lost; nobody sleeps longer than this without a look. */
#define RECHECK_US		USECS_PER_SEC

/* Events that are due, copied, in the order of delivery; at most max of them. */
static EbEphemeralEvent *
due_events(const EbEphemeral *sub, TimestampTz now, int *n)
{
	EbEphemeralEvent *due = palloc(Max(sub->nwaiting, 1) * sizeof(EbEphemeralEvent));

	*n = 0;
	for (int i = 0; i < sub->nwaiting && !sub->paused; i++)
		if (sub->waiting[i].due <= now)
			due[(*n)++] = sub->waiting[i];
	return due;
}

static int
compare_offsets(const void *a, const void *b)
{
	int64		x = ((const EbEphemeralEvent *) a)->offset;
	int64		y = ((const EbEphemeralEvent *) b)->offset;

	return x < y ? -1 : (x > y);
}

static int
compare_priorities(const void *a, const void *b)
{
	int			x = ((const EbEphemeralEvent *) a)->priority;
	int			y = ((const EbEphemeralEvent *) b)->priority;

	return x != y ? y - x : compare_offsets(a, b);
}

/* Takes events, sorted by offset, out of what waits. */
static void
take_out(EbEphemeral *sub, EbEphemeralEvent *taken, int n)
{
	int			kept = 0;
	int			next = 0;

	qsort(taken, n, sizeof(EbEphemeralEvent), compare_offsets);
	for (int i = 0; i < sub->nwaiting; i++)
	{
		if (next < n && sub->waiting[i].offset == taken[next].offset)
			next++;
		else
			sub->waiting[kept++] = sub->waiting[i];
	}
	sub->nwaiting = kept;
	sub->fetched += n;
}

static void
put_rows(ReturnSetInfo *rsinfo, const EbEphemeralEvent *events, int n, TimestampTz now)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EbLogScan  *scan = eb_log_scan_begin(1, 0, snapshot);
	int64		last = 0;

	for (int i = 0; i < n; i++)
	{
		Datum		values[EB_DELIVERY_NATTS];
		bool		nulls[EB_DELIVERY_NATTS] = {0};
		TupleTableSlot *event;

		CHECK_FOR_INTERRUPTS();
		eb_log_scan_rescan(scan, events[i].offset, events[i].offset);
		event = eb_log_scan_next(scan);
		if (event == NULL)
			continue;			/* its segment was dropped meanwhile */
		values[0] = Int64GetDatum(0);
		values[1] = Int32GetDatum(1);
		values[2] = TimestampTzGetDatum(now);
		values[3] = BoolGetDatum(false);
		eb_log_event_datums(event, values + EB_DELIVERY_PREFIX, nulls + EB_DELIVERY_PREFIX);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		last = Max(last, events[i].offset);
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	eb_log_make_durable(last);
}

/* Looks at the log; returns what may be delivered. */
static EbEphemeralEvent *
look(EbEphemeral *sub, TimestampTz now, int *n)
{
	Snapshot	snapshot;
	int64		safe = eb_log_safe_snapshot(&snapshot);

	eb_ephemeral_gather(sub, safe, snapshot);
	UnregisterSnapshot(snapshot);
	return due_events(sub, now, n);
}

/* Sleeps until the log grows, an event is due or the time is over. */
static void
wait_for_more(const EbEphemeral *sub, TimestampTz now, TimestampTz deadline)
{
	TimestampTz until = Min(deadline, now + RECHECK_US);

	for (int i = 0; i < sub->nwaiting && !sub->paused; i++)
		until = Min(until, sub->waiting[i].due);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max((until - now + 999) / 1000, 1), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* See ephemeral.h. */
void
eb_ephemeral_fetch(ReturnSetInfo *rsinfo, EbEphemeral *sub, int max_events, int64 wait_us)
{
	TimestampTz deadline = GetCurrentTimestamp() + wait_us;
	EbDb	   *db = eb_shmem_db();
	EbEphemeralEvent *events;
	TimestampTz now;
	int			n;

	eb_ephemeral_check_owner(sub);
	for (;;)
	{
		now = GetCurrentTimestamp();
		events = look(sub, now, &n);
		if (n > 0 || now >= deadline)
			break;
		pfree(events);
		if (eb_await_log_begin(db))
			continue;			/* look once more, now as a sleeper */
		wait_for_more(sub, now, deadline);
	}
	eb_await_end();
	if (n == 0)
		return;
	qsort(events, n, sizeof(EbEphemeralEvent),
		  sub->ordered ? compare_offsets : compare_priorities);
	n = Min(n, max_events);
	put_rows(rsinfo, events, n, now);
	take_out(sub, events, n);
}
