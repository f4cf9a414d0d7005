/*
 * log_scan.c
 *	  Scanning the log by offset.
 *
 * What was emitted together lies together: the next offset is mostly the next row
 * of the heap.  So a scan finds its place in the index and then goes on in the
 * heap's own order, a page at a time, for as long as each row has just the offset
 * after the one before; nothing can lie between those.  Any other row, and the
 * end of the heap, sends it back to the index.  Where the emitters' rows are mixed
 * so that this does not pay, it stays with the index for longer and longer.
 *
 * A row that is wanted by its offset, the first of a range or one of a list, is
 * guessed at before the index is asked (log_guess.c).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "compat.h"
#include "log.h"
#include "log_guess.h"
#include "log_segment.h"

/* A run in heap order pays from this length on. */
#define HEAP_RUN_MIN	8

/* A list of offsets is read as a range while at least every nth is in it. */
#define RANGE_READ_RATIO 4

/* At most so many rows by the index before heap order is tried again. */
#define PATIENCE_MAX	1024

struct EbLogScan
{
	int64		next;			/* nothing below is left to return */
	int64		last;
	Snapshot	snapshot;
	EbSegment	segment;		/* the one that is open */
	Relation	rel;			/* NULL if none is */
	Relation	index;
	IndexScanDesc desc;
	bool		index_moved;	/* desc does not stand at "next" */
	BlockNumber nblocks;		/* of rel; 0 = not known */
	TableScanDesc heap;			/* in heap order; NULL = not yet begun */
	TupleTableSlot *slot;

	bool		in_heap;		/* where the next row is looked for */
	int			run;			/* rows in heap order since the index */
	int			waited;			/* rows by the index since heap order */
	int			patience;		/* how many it shall be */

	const int64 *offsets;		/* only these, rising; NULL = all in the range */
	int			noffsets;		/* how many of them are left */
	bool		list_as_range;
	bool		in_list_run;	/* the range is a run of the list */
};

static void
rescan_index(EbLogScan *scan)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(scan->next));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(scan->last));
	index_rescan(scan->desc, keys, 2, NULL, 0);
	scan->index_moved = false;
}

/* Guesses go on from the row that was read last. */
static void
learn_place(EbLogScan *scan)
{
	if (scan->slot != NULL && !TTS_EMPTY(scan->slot))
		eb_log_guess_learn(scan->rel, scan->slot);
}

static void
close_segment(EbLogScan *scan)
{
	if (scan->rel == NULL)
		return;
	learn_place(scan);
	if (scan->slot != NULL)
		ExecClearTuple(scan->slot);
	if (scan->heap != NULL)
		table_endscan(scan->heap);
	scan->heap = NULL;
	scan->in_heap = false;
	index_endscan(scan->desc);
	index_close(scan->index, NoLock);
	table_close(scan->rel, NoLock);
	scan->rel = NULL;
	scan->nblocks = 0;
}

/* Opens the segment that holds scan->next or the nearest above; false: the end. */
static bool
open_segment(EbLogScan *scan)
{
	while (scan->next <= scan->last &&
		   eb_log_segment_above(scan->next, &scan->segment))
	{
		if (scan->segment.first > scan->last)
			return false;
		scan->rel = eb_log_segment_open(&scan->segment, AccessShareLock);
		if (scan->rel == NULL)
			continue;			/* dropped under us: look again */
		scan->index = index_open(scan->segment.offset_index, AccessShareLock);
		scan->desc = eb_index_beginscan(scan->rel, scan->index, scan->snapshot, 2);
		scan->index_moved = true;
		if (scan->slot == NULL)
			scan->slot = MakeSingleTupleTableSlot(eb_log_tupdesc(),
												  table_slot_callbacks(scan->rel));
		return true;
	}
	return false;
}

EbLogScan *
eb_log_scan_begin(int64 first, int64 last, Snapshot snapshot)
{
	EbLogScan  *scan = palloc0(sizeof(EbLogScan));

	/* Whoever made an event safe to read has told of its segment before. */
	AcceptInvalidationMessages();
	scan->next = first;
	scan->last = last;
	scan->snapshot = snapshot;
	scan->patience = 1;
	return scan;
}

static void
set_range(EbLogScan *scan, int64 first, int64 last)
{
	bool		goes_on = (scan->in_heap && first == scan->next && first < scan->segment.end);

	scan->next = first;
	scan->last = last;
	if (scan->rel == NULL || goes_on)
		return;
	scan->in_heap = false;
	scan->index_moved = true;
	if (first >= scan->segment.first && first < scan->segment.end)
	{
		learn_place(scan);
		ExecClearTuple(scan->slot);
	}
	else
		close_segment(scan);
}

/* Starts over with another range; cheap while it stays in one segment. */
void
eb_log_scan_rescan(EbLogScan *scan, int64 first, int64 last)
{
	scan->offsets = NULL;
	set_range(scan, first, last);
}

/* Starts over with rising offsets, which the caller keeps: n > 0. */
void
eb_log_scan_rescan_list(EbLogScan *scan, const int64 *offsets, int n)
{
	scan->offsets = offsets;
	scan->noffsets = n;
	scan->list_as_range = (offsets[n - 1] - offsets[0] < (int64) n * RANGE_READ_RATIO);
	scan->in_list_run = false;
	if (scan->list_as_range)
		set_range(scan, offsets[0], offsets[n - 1]);
}

/* Goes on behind the row in the slot, in heap order. */
static void
enter_heap(EbLogScan *scan)
{
	ItemPointerData low = scan->slot->tts_tid;
	ItemPointerData high;

	ItemPointerInc(&low);
	ItemPointerSet(&high, MaxBlockNumber, MaxOffsetNumber);
	if (scan->heap == NULL)
		scan->heap = table_beginscan_tidrange(scan->rel, scan->snapshot, &low, &high);
	else
		table_rescan_tidrange(scan->heap, &low, &high);
	scan->in_heap = true;
	scan->run = 0;
}

/* Back to the index, at scan->next. */
static void
leave_heap(EbLogScan *scan)
{
	scan->in_heap = false;
	scan->waited = 0;
	scan->patience = scan->run >= HEAP_RUN_MIN ? 1 : Min(scan->patience * 2, PATIENCE_MAX);
	rescan_index(scan);
}

/* The next row of the open segment in heap order; false if that is not it. */
static bool
next_in_heap(EbLogScan *scan)
{
	if (!table_scan_getnextslot_tidrange(scan->heap, ForwardScanDirection, scan->slot) ||
		eb_log_slot_offset(scan->slot) != scan->next)
		return false;
	scan->next++;
	scan->run++;
	return true;
}

/* The row of just scan->next, where it is guessed to lie. */
static bool
next_by_guess(EbLogScan *scan)
{
	if (scan->nblocks == 0)
		scan->nblocks = RelationGetNumberOfBlocks(scan->rel);
	return eb_log_guess_fetch(scan->rel, scan->nblocks, scan->next, scan->snapshot,
							  scan->slot);
}

static bool
next_by_index(EbLogScan *scan)
{
	if (scan->index_moved)
		rescan_index(scan);
	return index_getnext_slot(scan->desc, ForwardScanDirection, scan->slot);
}

/*
 * The next row of the open segment by a guess or by the index; false if there is
 * none.  Rows in other orders than the index's are not for SERIALIZABLE, which
 * locks what it reads of the index.
 */
static bool
next_at_random(EbLogScan *scan)
{
	if (scan->index_moved && !IsolationIsSerializable() && next_by_guess(scan))
		;
	else if (!next_by_index(scan))
		return false;
	scan->next = eb_log_slot_offset(scan->slot) + 1;
	if (++scan->waited >= scan->patience && scan->last - scan->next >= HEAP_RUN_MIN &&
		!IsolationIsSerializable())
		enter_heap(scan);
	return true;
}

static TupleTableSlot *
next_of_range(EbLogScan *scan)
{
	for (;;)
	{
		if (scan->next > scan->last)
			break;
		if (scan->rel == NULL && !open_segment(scan))
			break;
		if (scan->in_heap)
		{
			if (next_in_heap(scan))
				return scan->slot;
			leave_heap(scan);
		}
		if (next_at_random(scan))
			return scan->slot;
		scan->next = scan->segment.end;
		if (scan->next <= scan->last)
			close_segment(scan);	/* else keep it for a rescan */
	}
	return NULL;
}

/* Goes on with as many offsets of the list as follow each other. */
static void
next_list_run(EbLogScan *scan)
{
	const int64 *offsets = scan->offsets;
	int			n = 1;

	while (n < scan->noffsets && offsets[n] == offsets[0] + n)
		n++;
	set_range(scan, offsets[0], offsets[0] + n - 1);
	scan->in_list_run = true;
	scan->offsets += n;
	scan->noffsets -= n;
}

/* The next row whose offset is in the list, which is read run by run. */
static TupleTableSlot *
next_of_list_runs(EbLogScan *scan)
{
	TupleTableSlot *row;

	for (;;)
	{
		if (scan->in_list_run && (row = next_of_range(scan)) != NULL)
			return row;
		if (scan->noffsets == 0)
			return NULL;
		next_list_run(scan);
	}
}

/* The next row whose offset is in the list, which is read as a range. */
static TupleTableSlot *
next_of_list(EbLogScan *scan)
{
	TupleTableSlot *row;

	while (scan->noffsets > 0)
	{
		if ((row = next_of_range(scan)) == NULL)
			return NULL;
		while (scan->noffsets > 0 && *scan->offsets < eb_log_slot_offset(row))
		{
			scan->offsets++;
			scan->noffsets--;
		}
		if (scan->noffsets > 0 && *scan->offsets == eb_log_slot_offset(row))
			return row;
	}
	return NULL;
}

TupleTableSlot *
eb_log_scan_next(EbLogScan *scan)
{
	if (scan->offsets == NULL)
		return next_of_range(scan);
	return scan->list_as_range ? next_of_list(scan) : next_of_list_runs(scan);
}

void
eb_log_scan_end(EbLogScan *scan)
{
	close_segment(scan);
	if (scan->slot != NULL)
		ExecDropSingleTupleTableSlot(scan->slot);
	pfree(scan);
}
