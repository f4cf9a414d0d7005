/*
 * fetch_rows.c
 *	  The result of eb_fetch: the events of what was claimed, in order.
 *
 * Rows come by priority, then offset.  Deliveries of the priority lanes are
 * claimed in that order, and go straight from the log into the result.  Where
 * others are among them (retries, what was delayed, parts of split batches) the
 * rows are gathered and sorted.  A delivery of an ordered lane stays together and
 * has the priority of its first event, because its aggregates' order comes first.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "delivery_row.h"
#include "fetch_rows.h"
#include "log.h"
#include "settle_recent.h"

/* More than a fetch of 1,000 events of the usual size takes in one block. */
#define MALLOC_CALM_SIZE	(2 * 1024 * 1024)

/* Columns of a row of the result that we look at. */
#define ROW_OFFSET		(EB_DELIVERY_PREFIX + 0)
#define ROW_EVENT_ID	(EB_DELIVERY_PREFIX + 1)
#define ROW_PRIORITY	(EB_DELIVERY_PREFIX + 8)
#define ROW_DELIVER_AT	(EB_DELIVERY_PREFIX + 9)
#define ROW_EMITTED_AT	(EB_DELIVERY_PREFIX + 10)

/* A row that awaits its place. */
typedef struct Row
{
	int			priority;		/* that it is sorted by */
	int64		offset;
	HeapTuple	tuple;
} Row;

typedef struct Output
{
	Tuplestorestate *store;
	EbDeliveryFormer former;
	TimestampTz now;
	const EbDelivery *delivery; /* being read */
	int			unit_priority;	/* of an ordered lane's delivery; -1 = not
								 * known yet */
	Row		   *rows;			/* NULL = nothing is to be sorted */
	int			nrows;
	int			max_rows;		/* room in rows */
	EbLatency	latency;
} Output;

/* Counts the time from emission, or from the due time, to a first delivery. */
static void
measure(Output *out, const Datum *values, const bool *nulls)
{
	TimestampTz from = DatumGetTimestampTz(values[ROW_EMITTED_AT]);
	int64		us;

	if (out->delivery->attempt != 1 || out->delivery->replayed)
		return;
	if (!nulls[ROW_DELIVER_AT])
		from = Max(from, DatumGetTimestampTz(values[ROW_DELIVER_AT]));
	us = Max(out->now - from, 0);
	out->latency.counts[eb_latency_bucket(us)]++;
	out->latency.sum_us += us;
}

/* Keeps a row for sorting. */
static void
keep(Output *out, Datum *values, bool *nulls)
{
	Row		   *row;

	if (out->nrows >= out->max_rows)
		elog(ERROR, "delivery " INT64_FORMAT " has more events than it says",
			 out->delivery->seq);
	row = &out->rows[out->nrows++];
	row->priority = DatumGetInt16(values[ROW_PRIORITY]);
	row->offset = DatumGetInt64(values[ROW_OFFSET]);
	if (out->delivery->lane >= EB_LANE_ORDERED)
	{
		if (out->unit_priority < 0)
			out->unit_priority = row->priority;
		row->priority = out->unit_priority;
	}
	row->tuple = heap_copytuple(eb_delivery_form(&out->former, values, nulls));
}

static void
put_row(Output *out, TupleTableSlot *event)
{
	const EbDelivery *d = out->delivery;
	Datum		values[EB_DELIVERY_NATTS];
	bool		nulls[EB_DELIVERY_NATTS] = {0};

	values[0] = Int64GetDatum(eb_receipt(d));
	values[1] = Int32GetDatum(d->attempt);
	values[2] = TimestampTzGetDatum(d->first_delivered_at);
	values[3] = BoolGetDatum(d->replayed);
	eb_log_event_datums(event, values + EB_DELIVERY_PREFIX, nulls + EB_DELIVERY_PREFIX);
	if (d->parts != NULL)
		values[2] = TimestampTzGetDatum(eb_queue_first_delivered(d, DatumGetInt64(values[ROW_OFFSET])));
	measure(out, values, nulls);
	eb_recent_event(d, DatumGetInt64(values[ROW_OFFSET]), DatumGetUUIDP(values[ROW_EVENT_ID]));
	if (out->rows != NULL)
		keep(out, values, nulls);
	else
		tuplestore_puttuple(out->store, eb_delivery_form(&out->former, values, nulls));
}

/* Reads the events of one delivery. */
static void
read_delivery(Output *out, const EbDelivery *d, EbLogScan *scan)
{
	TupleTableSlot *event;

	out->delivery = d;
	out->unit_priority = -1;
	eb_recent_delivery(d);
	if (d->offsets != NULL)
		eb_log_scan_rescan_list(scan, d->offsets, d->events);
	else
		eb_log_scan_rescan(scan, d->first_offset, d->last_offset);
	while ((event = eb_log_scan_next(scan)) != NULL)
		put_row(out, event);
}

/* Whether the deliveries' events, read one after the other, are in order. */
static bool
in_order(const List *deliveries)
{
	const EbDelivery *prev = NULL;
	ListCell   *lc;

	if (list_length(deliveries) == 1)
		return true;
	foreach(lc, deliveries)
	{
		const EbDelivery *d = lfirst(lc);

		if (d->lane >= EB_LANE_PRIORITIES)
			return false;
		if (prev != NULL &&
			(d->lane < prev->lane ||
			 (d->lane == prev->lane && d->first_offset <= prev->last_offset)))
			return false;
		prev = d;
	}
	return true;
}

static int
compare_rows(const void *a, const void *b)
{
	const Row  *x = a;
	const Row  *y = b;

	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return 0;
}

/*
 * glibc gives the top of the heap back to the kernel whenever 128 kB of it are free,
 * as they are after each fetch of a large batch, and the next fetch gets them back a
 * page fault at a time.  It puts that bound at twice the size of the largest block
 * that had a mapping of its own and was freed; so free one, once.
 */
static void
calm_malloc(void)
{
	static bool calmed = false;

	if (!calmed)
		pfree(palloc(MALLOC_CALM_SIZE));
	calmed = true;
}

/* See fetch_rows.h. */
void
eb_fetch_rows(ReturnSetInfo *rsinfo, const EbClaim *claim)
{
	Output		out = {.store = rsinfo->setResult, .now = claim->now};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EbLogScan  *scan = eb_log_scan_begin(1, 0, snapshot);
	ListCell   *lc;

	calm_malloc();
	eb_delivery_former_init(&out.former, rsinfo->setDesc);
	if (!in_order(claim->deliveries))
	{
		out.max_rows = claim->taken;
		out.rows = palloc(sizeof(Row) * Max(out.max_rows, 1));
	}
	foreach(lc, claim->deliveries)
	{
		CHECK_FOR_INTERRUPTS();
		read_delivery(&out, lfirst(lc), scan);
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);

	if (out.nrows > 1)
		qsort(out.rows, out.nrows, sizeof(Row), compare_rows);
	for (int i = 0; i < out.nrows; i++)
		tuplestore_puttuple(out.store, out.rows[i].tuple);
	eb_latency_add(claim->sub->shared, &out.latency);
}
