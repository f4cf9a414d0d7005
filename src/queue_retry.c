/*
 * queue_retry.c
 *	  What failed goes back into the queue, together where it can.
 *
 * A consumer that fails a share of each batch would otherwise get ever smaller
 * batches back, each with its own row, receipt and settlement.  So what one
 * transaction sends back goes into a row that it has made for another nack, if both
 * are of one subscription, have failed equally often, and the row's time is one that the
 * back-off could have chosen for the newcomers, too.  Nobody else can be at such a row,
 * because it is not committed.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "compat.h"
#include "queue.h"

/* Rows of this transaction that may get more. */
#define OPEN_MAX	8

typedef struct OpenRow
{
	EbDelivery	row;			/* offsets always listed; pointers in "context" */
	MemoryContext context;		/* a child of TopTransactionContext's */
} OpenRow;

static OpenRow open_rows[OPEN_MAX];
static int	nopen = 0;
static int	next_victim = 0;

/* Rolled back to a savepoint, or over: what we know of the rows is void. */
void
eb_queue_retry_forget(void)
{
	nopen = 0;					/* their contexts go with the transaction */
}

static void
keep(OpenRow *open, const EbDelivery *d, const int64 *offsets)
{
	MemoryContext context = AllocSetContextCreate(TopTransactionContext, "eventbus retry",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	open->row = *d;
	open->row.consumer = d->consumer ? pstrdup(d->consumer) : NULL;
	open->row.offsets = palloc(d->events * sizeof(int64));
	memcpy(open->row.offsets, offsets, d->events * sizeof(int64));
	if (d->parts != NULL)
	{
		open->row.parts = palloc(VARSIZE(d->parts));
		memcpy(open->row.parts, d->parts, VARSIZE(d->parts));
	}
	else
	{
		open->row.history = palloc(VARSIZE(d->history));
		memcpy(open->row.history, d->history, VARSIZE(d->history));
	}
	open->context = context;
	MemoryContextSwitchTo(old);
}

/* The offsets of both, rising; their ranges or parts do not overlap. */
static int64 *
join_offsets(const EbDelivery *row, const int64 *offsets, int n)
{
	int64	   *all = palloc((row->events + n) * sizeof(int64));
	int			before = 0;

	while (before < row->events && row->offsets[before] < offsets[0])
		before++;
	memcpy(all, row->offsets, before * sizeof(int64));
	memcpy(all + before, offsets, n * sizeof(int64));
	memcpy(all + before + n, row->offsets + before, (row->events - before) * sizeof(int64));
	return all;
}

/* Puts d into an open row, if that has room for it. */
static bool
join(EbQueue *queue, OpenRow *open, const EbDelivery *d, const int64 *offsets)
{
	EbDelivery	joined = open->row;
	MemoryContext old_context = open->context;
	int64	   *all;

	joined.parts = eb_queue_join_parts(&open->row, d);
	if (joined.parts == NULL)
		return false;
	joined.history = NULL;
	joined.first_delivered_at = Min(joined.first_delivered_at, d->first_delivered_at);
	all = join_offsets(&open->row, offsets, d->events);
	eb_queue_set_offsets(&joined, all, joined.events + d->events);
	if (eb_queue_update(queue, &joined, false) != TM_Ok)
		return false;			/* it was fetched again, for example */
	keep(open, &joined, all);
	MemoryContextDelete(old_context);
	return true;
}

static bool
alike(const EbDelivery *row, const EbDelivery *d)
{
	return row->subscription_id == d->subscription_id && row->attempt == d->attempt &&
		row->replays == d->replays && row->replayed == d->replayed;
}

/*
 * Queues d, which has these offsets, in the lane of retries, due at d->due_at, or in
 * a row that is due between the two times.  The caller lowers the hints for what
 * d says.
 */
void
eb_queue_retry(EbQueue *queue, const EbSubscription *sub, EbDelivery *d, const int64 *offsets,
			   TimestampTz earliest, TimestampTz latest)
{
	OpenRow    *open;

	d->lane = EB_LANE_RETRY;
	d->position = d->due_at;
	for (int i = 0; i < nopen; i++)
	{
		EbDelivery *row = &open_rows[i].row;

		if (alike(row, d) && row->due_at >= earliest && row->due_at <= latest &&
			row->events + d->events <= sub->batch_size &&
			join(queue, &open_rows[i], d, offsets))
			return;
	}
	eb_queue_insert(queue, d);
	if (nopen < OPEN_MAX)
		open = &open_rows[nopen++];
	else
	{
		open = &open_rows[next_victim++ % OPEN_MAX];
		MemoryContextDelete(open->context);
	}
	keep(open, d, offsets);
}
