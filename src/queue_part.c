/*
 * queue_part.c
 *	  Parts of a delivery: events that are retried together, each with its past.
 *
 * What a transaction sends back to be retried at one time comes back in one row
 * (queue_retry.c).  When an event was delivered first and how its attempts failed
 * stays its own: a part is a range of offsets, and all events of the row within it
 * share that past.  Parts rise and do not overlap.  A part whose events have left
 * the row stays in it until those of the row fail again.
 *
 * In the row a part is its head and its history, one after the other, unaligned.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "compat.h"
#include "queue.h"

/* Histories of one row, in bytes: rows that need TOAST would cost more than they save. */
#define PARTS_MAX	1300

typedef struct PartHead
{
	int64		first;
	int64		last;
	TimestampTz first_delivered_at;
} PartHead;

typedef struct PartScan
{
	const char *next;
	const char *end;
	const char *begin;			/* of the part read last */
	PartHead	head;
	const char *history;		/* a Jsonb, unaligned */
	uint32		size;			/* of it */
} PartScan;

static void
scan_parts(PartScan *scan, const bytea *parts)
{
	scan->next = VARDATA(parts);
	scan->end = (const char *) parts + VARSIZE(parts);
}

static bool
next_part(PartScan *scan)
{
	uint32		header;

	if (scan->next >= scan->end)
		return false;
	scan->begin = scan->next;
	scan->history = scan->begin + sizeof(PartHead);
	scan->size = 0;
	if (scan->end - scan->begin >= sizeof(PartHead) + sizeof(header))
	{
		memcpy(&scan->head, scan->begin, sizeof(PartHead));
		memcpy(&header, scan->history, sizeof(header));
		scan->size = VARSIZE(&header);
	}
	if (scan->size < sizeof(header) || scan->size > scan->end - scan->history)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the history of a delivery is corrupt"),
				 errhint("It cannot be restored on a machine with another byte order.")));
	scan->next = scan->history + scan->size;
	return true;
}

/* The part of an event. */
static void
find_part(PartScan *scan, const EbDelivery *d, int64 offset)
{
	scan_parts(scan, d->parts);
	while (next_part(scan))
		if (offset >= scan->head.first && offset <= scan->head.last)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("delivery " INT64_FORMAT " has no history of offset " INT64_FORMAT,
					d->seq, offset)));
}

/*
 * Makes *one a copy of d with the past of offsets[0]; returns how many of the n
 * rising offsets share it.
 */
int
eb_queue_part(const EbDelivery *d, const int64 *offsets, int n, EbDelivery *one)
{
	PartScan	scan;
	int			same = 1;

	*one = *d;
	if (d->parts == NULL)
		return n;
	find_part(&scan, d, offsets[0]);
	one->parts = NULL;
	one->first_delivered_at = scan.head.first_delivered_at;
	one->history = palloc(scan.size);
	memcpy(one->history, scan.history, scan.size);
	while (same < n && offsets[same] <= scan.head.last)
		same++;
	return same;
}

/* When an event of d was delivered first. */
TimestampTz
eb_queue_first_delivered(const EbDelivery *d, int64 offset)
{
	PartScan	scan;

	if (d->parts == NULL)
		return d->first_delivered_at;
	find_part(&scan, d, offset);
	return scan.head.first_delivered_at;
}

static void
add_part(StringInfo buf, int64 first, int64 last, const EbDelivery *d)
{
	PartHead	head = {first, last, d->first_delivered_at};

	appendBinaryStringInfo(buf, (char *) &head, sizeof(head));
	appendBinaryStringInfo(buf, (char *) d->history, VARSIZE(d->history));
}

static void
begin_parts(StringInfo buf)
{
	initStringInfo(buf);
	appendStringInfoSpaces(buf, VARHDRSZ);
}

static bytea *
end_parts(StringInfo buf)
{
	SET_VARSIZE(buf->data, buf->len);
	return (bytea *) buf->data;
}

/* Notes a failure of these events of d (n > 0), which are to be its only ones. */
void
eb_queue_fail(EbDelivery *d, const int64 *offsets, int n, const EbFailure *failure)
{
	StringInfoData buf;
	EbDelivery	one;

	if (d->parts != NULL)
	{
		int			same;
		int			parts = 0;

		begin_parts(&buf);
		for (int i = 0; i < n; i += same, parts++)
		{
			same = eb_queue_part(d, offsets + i, n - i, &one);
			one.history = eb_history_append(one.history, failure);
			add_part(&buf, offsets[i], offsets[i + same - 1], &one);
		}
		if (parts == 1)
			*d = one;
		else
			d->parts = end_parts(&buf);
	}
	else
		d->history = eb_history_append(d->history, failure);
}

/* d's parts, also if it is of one piece. */
static bytea *
parts_of(const EbDelivery *d)
{
	StringInfoData buf;

	if (d->parts != NULL)
		return d->parts;
	begin_parts(&buf);
	add_part(&buf, d->first_offset, d->last_offset, d);
	return end_parts(&buf);
}

/*
 * The parts of both deliveries, which have failed; NULL if they are too large
 * together or the offsets of d are not between two parts of "to".
 */
bytea *
eb_queue_join_parts(const EbDelivery *to, const EbDelivery *d)
{
	bytea	   *old = parts_of(to);
	bytea	   *new = parts_of(d);
	StringInfoData buf;
	PartScan	scan;
	int			before;

	if (VARSIZE(old) + VARSIZE(new) > PARTS_MAX)
		return NULL;
	scan_parts(&scan, old);
	before = VARSIZE(old) - VARHDRSZ;
	while (next_part(&scan))
	{
		if (d->first_offset <= scan.head.last && d->last_offset >= scan.head.first)
			return NULL;
		if (d->last_offset < scan.head.first)
			before = Min(before, (int) (scan.begin - VARDATA(old)));
	}
	begin_parts(&buf);
	appendBinaryStringInfo(&buf, VARDATA(old), before);
	appendBinaryStringInfo(&buf, VARDATA(new), VARSIZE(new) - VARHDRSZ);
	appendBinaryStringInfo(&buf, VARDATA(old) + before, VARSIZE(old) - VARHDRSZ - before);
	return end_parts(&buf);
}
