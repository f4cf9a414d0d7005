/*
 * log_guess.c
 *	  Where the row of an offset lies, guessed.
 *
 * What was emitted together lies together, so the place of a row is nearly a
 * linear function of its offset.  From a row seen before and the number of rows
 * that a page held lately follows a place for any other; a look there finds
 * the row or another one, from which the next guess is better.  That takes a
 * fraction of a descent of the index.
 *
 * Nothing depends on a guess: a row is told by its offset and is visible to the
 * snapshot, or the caller takes the index.  Where the emitters' rows are mixed so
 * that guesses fail, there are fewer and fewer.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/tableam.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

#include "log.h"
#include "log_guess.h"

/* Looks for one row, at most. */
#define LOOKS_MAX		4

/* At most so many rows are left to the index before the next guess. */
#define PATIENCE_MAX	1024

/* A row seen before, of the log's segment that was read last. */
typedef struct Place
{
	int64		offset;
	BlockNumber block;
	OffsetNumber item;
} Place;

static struct
{
	Oid			relid;
	Place		seen;
	double		rows;			/* a page, lately; 0 = not known */
	int			patience;		/* rows left to the index after the last miss */
	int			waited;			/* of them, so far */
} memory;

/* See log_guess.h. */
int64
eb_log_slot_offset(TupleTableSlot *slot)
{
	bool		isnull;

	return DatumGetInt64(slot_getattr(slot, EB_LOG_OFFSET, &isnull));
}

static Place
slot_place(TupleTableSlot *slot)
{
	Place		place;

	place.offset = eb_log_slot_offset(slot);
	place.block = ItemPointerGetBlockNumber(&slot->tts_tid);
	place.item = ItemPointerGetOffsetNumber(&slot->tts_tid);
	return place;
}

/* What lies between two rows in different pages tells how many a page has. */
static void
remember(Place place)
{
	const Place *seen = &memory.seen;

	if (place.block != seen->block)
	{
		double		rows = (double) ((place.offset - seen->offset) -
									 ((int) place.item - (int) seen->item)) /
			((double) place.block - (double) seen->block);

		if (rows >= 1 && rows <= MaxHeapTuplesPerPage)
			memory.rows = rows;
	}
	memory.seen = place;
}

/* See log_guess.h. */
void
eb_log_guess_learn(Relation rel, TupleTableSlot *slot)
{
	if (memory.relid != RelationGetRelid(rel))
	{
		memset(&memory, 0, sizeof(memory));
		memory.relid = RelationGetRelid(rel);
		memory.seen = slot_place(slot);
	}
	else
		remember(slot_place(slot));
}

/* The place of an offset, as far as the row at "from" tells; false: none. */
static bool
guess(const Place *from, int64 offset, BlockNumber nblocks, ItemPointer tid)
{
	double		rows = memory.rows;
	double		row = (double) (offset - from->offset) + from->item - 1;	/* in from's page */
	double		pages;

	if (rows == 0)
	{
		if (row < 0 || row >= MaxHeapTuplesPerPage)
			return false;
		rows = MaxHeapTuplesPerPage;	/* look in this page only */
	}
	pages = floor(row / rows);
	if (from->block + pages < 0 || from->block + pages >= nblocks)
		return false;
	ItemPointerSet(tid, from->block + (BlockNumber) (int64) pages,
				   (OffsetNumber) (row - pages * rows + 0.5) + 1);
	return true;
}

static bool
look(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	if (!table_tuple_fetch_row_version(rel, tid, snapshot, slot))
	{
		ExecClearTuple(slot);
		return false;
	}
	return true;
}

/* Looks at the guessed place, then at better ones. */
static bool
search(Relation rel, BlockNumber nblocks, int64 offset, Snapshot snapshot,
	   TupleTableSlot *slot)
{
	Place		from = memory.seen;
	ItemPointerData tid;

	if (!guess(&from, offset, nblocks, &tid))
		return false;
	for (int i = 0; i < LOOKS_MAX; i++)
	{
		if (look(rel, &tid, snapshot, slot))
		{
			from = slot_place(slot);
			if (from.offset == offset)
			{
				remember(from);
				return true;
			}
			if (!guess(&from, offset, nblocks, &tid))
				break;
		}
		else if (ItemPointerGetBlockNumber(&tid) == from.block)
		{
			/* The page ends before: the row is the first of the next. */
			if (from.block + 1 >= nblocks)
				break;
			ItemPointerSet(&tid, from.block + 1, FirstOffsetNumber);
		}
		else if (ItemPointerGetOffsetNumber(&tid) > FirstOffsetNumber)
			ItemPointerSetOffsetNumber(&tid, FirstOffsetNumber);
		else
			break;
	}
	ExecClearTuple(slot);
	return false;
}

/* See log_guess.h. */
bool
eb_log_guess_fetch(Relation rel, BlockNumber nblocks, int64 offset,
				   Snapshot snapshot, TupleTableSlot *slot)
{
	if (memory.relid != RelationGetRelid(rel))
		return false;
	if (memory.waited < memory.patience)
	{
		memory.waited++;
		return false;
	}
	if (search(rel, nblocks, offset, snapshot, slot))
	{
		memory.patience = 0;
		return true;
	}
	memory.patience = Min(memory.patience * 2 + 1, PATIENCE_MAX);
	memory.waited = 0;
	return false;
}
