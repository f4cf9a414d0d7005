/*
 * log.c
 *	  Appending to the log.
 *
 * Rows come pre-formed and are written below the executor: one multi-insert a
 * batch, then the index entries, with index metadata that outlives the
 * transaction.  The order of the calls is decision 1's: eb_log_append_begin opens
 * and locks the segment before the caller reserves offsets, so that nothing but
 * inserting lies between reserving and committing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "eventbus.h"
#include "log.h"
#include "log_segment.h"
#include "shmem.h"

#define BATCH_ROWS			1000

typedef struct EbLogIndex
{
	Oid			relid;
	Relation	rel;			/* open between begin and end only */
	IndexInfo  *info;
} EbLogIndex;

/* What is known of a segment's indexes; serves until something changes there. */
typedef struct EbIndexCache
{
	MemoryContext context;
	Oid			segment;
	uint64		generation;
	bool		computed;		/* an index has expressions or a predicate */
	int			nindexes;
	EbLogIndex *indexes;
} EbIndexCache;

/* The append that is going on; begin resets it, for an error may have ended one. */
typedef struct EbLogWriter
{
	EbSegment	segment;
	Relation	rel;			/* NULL = no segment is open */
	int			nrows;			/* waiting in the slots */
	CommandId	cid;
	EState	   *estate;			/* for computed indexes */
} EbLogWriter;

static EbIndexCache cache;
static EbLogWriter writer;
static MemoryContext slot_context = NULL;
static MemoryContext batch_context = NULL;	/* what one multi-insert leaves behind */
static TupleTableSlot **slots = NULL;
static HeapTupleData *tuples = NULL;
static int	nslots = 0;

static TupleTableSlot *
make_slot(void)
{
	MemoryContext oldcontext;
	TupleTableSlot *slot;

	if (slot_context == NULL)
	{
		slot_context = AllocSetContextCreate(TopMemoryContext, "eventbus log slots",
											 ALLOCSET_DEFAULT_SIZES);
		slots = MemoryContextAllocZero(slot_context, BATCH_ROWS * sizeof(TupleTableSlot *));
		tuples = MemoryContextAllocZero(slot_context, BATCH_ROWS * sizeof(HeapTupleData));
	}
	oldcontext = MemoryContextSwitchTo(slot_context);
	slot = MakeSingleTupleTableSlot(eb_log_tupdesc(), &TTSOpsHeapTuple);
	MemoryContextSwitchTo(oldcontext);
	return slot;
}

/*
 * A slot claims to own its row while it waits: the table AM would otherwise copy
 * each row to be able to scribble on its header, which ours is made for.
 */
static void
fill_slot(int i, HeapTupleHeader row, uint32 len)
{
	HeapTuple	tuple;

	if (i == nslots)
	{
		TupleTableSlot *slot = make_slot();

		slots[nslots++] = slot;
	}
	tuple = &tuples[i];
	tuple->t_len = len;
	tuple->t_data = row;
	tuple->t_tableOid = InvalidOid;
	ItemPointerSetInvalid(&tuple->t_self);
	ExecStoreHeapTuple(tuple, slots[i], false);
	slots[i]->tts_flags |= TTS_FLAG_SHOULDFREE;
}

static void
clear_slots(void)
{
	for (int i = 0; i < writer.nrows; i++)
	{
		slots[i]->tts_flags &= ~TTS_FLAG_SHOULDFREE;
		ExecClearTuple(slots[i]);
	}
	writer.nrows = 0;
}

/* Reads the segment's indexes into the cache, unless they are there. */
static void
load_indexes(void)
{
	MemoryContext oldcontext;
	List	   *list;
	ListCell   *lc;

	if (cache.segment == writer.segment.relid && !cache.computed &&
		cache.generation == eb_log_segment_generation())
		return;
	cache.segment = InvalidOid;
	if (cache.context == NULL)
		cache.context = AllocSetContextCreate(TopMemoryContext, "eventbus log indexes",
											  ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache.context);
	oldcontext = MemoryContextSwitchTo(cache.context);
	cache.generation = eb_log_segment_generation();
	cache.computed = false;
	cache.nindexes = 0;
	list = RelationGetIndexList(writer.rel);
	cache.indexes = palloc0(sizeof(EbLogIndex) * Max(list_length(list), 1));
	foreach(lc, list)
	{
		Relation	rel = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(rel);

		if (info->ii_Expressions != NIL || info->ii_Predicate != NIL)
			cache.computed = true;
		if (info->ii_ReadyForInserts)
		{
			cache.indexes[cache.nindexes].relid = lfirst_oid(lc);
			cache.indexes[cache.nindexes].info = info;
			cache.nindexes++;
		}
		index_close(rel, NoLock);
	}
	MemoryContextSwitchTo(oldcontext);
	cache.segment = writer.segment.relid;
}

/* Opens and locks the segment that holds offset, making it if need be. */
static void
open_segment(int64 offset)
{
	for (;;)
	{
		if (!eb_log_segment_above(offset, &writer.segment))
			eb_log_ensure_segment(offset);
		else if (writer.segment.first > offset)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("no segment of the log holds offset " INT64_FORMAT, offset),
					 errhint("A partition of eventbus.event is missing; attach it again.")));
		else if ((writer.rel = eb_log_segment_open(&writer.segment, RowExclusiveLock)) != NULL)
			break;
	}
	eb_log_segment_await_told(&writer.segment);
	load_indexes();
	for (int i = 0; i < cache.nindexes; i++)
		cache.indexes[i].rel = index_open(cache.indexes[i].relid, RowExclusiveLock);
	if (cache.computed)
		writer.estate = CreateExecutorState();
}

static void
close_segment(void)
{
	if (writer.estate != NULL)
	{
		FreeExecutorState(writer.estate);
		writer.estate = NULL;
		cache.segment = InvalidOid; /* its expressions' state is gone */
	}
	for (int i = 0; i < cache.nindexes; i++)
		index_close(cache.indexes[i].rel, NoLock);
	table_close(writer.rel, NoLock);
	writer.rel = NULL;
}

/*
 * Values of an index that somebody added, with expressions or a predicate; false
 * if the predicate excludes the row.
 */
static bool
compute_index(EbLogIndex *index, TupleTableSlot *slot, Datum *values, bool *nulls)
{
	ExprContext *econtext = GetPerTupleExprContext(writer.estate);

	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	if (index->info->ii_Predicate != NIL)
	{
		if (index->info->ii_PredicateState == NULL)
			index->info->ii_PredicateState =
				ExecPrepareQual(index->info->ii_Predicate, writer.estate);
		if (!ExecQual(index->info->ii_PredicateState, econtext))
			return false;
	}
	FormIndexDatum(index->info, slot, writer.estate, values, nulls);
	return true;
}

static void
insert_index(EbLogIndex *index, TupleTableSlot *slot)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	IndexInfo  *info = index->info;

	if (cache.computed)
	{
		if (!compute_index(index, slot, values, nulls))
			return;
	}
	else
		for (int i = 0; i < info->ii_NumIndexAttrs; i++)
			values[i] = slot_getattr(slot, info->ii_IndexAttrNumbers[i], &nulls[i]);
	index_insert(index->rel, values, nulls, &slot->tts_tid, writer.rel,
				 info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
				 false, info);
}

/*
 * Locks and opens where the next n offsets will most likely go; call it before
 * reserving them.  Whatever the reservation turns out to be, eb_log_append copes.
 */
void
eb_log_append_begin(int64 n)
{
	int64		next = eb_sequencer_next(eb_log_sequencer());

	clear_slots();				/* of an append that failed */
	memset(&writer, 0, sizeof(writer));
	writer.cid = GetCurrentCommandId(true);
	eb_log_ensure_segment(next + n - 1);
	/* what writes toast or evaluates an index's expression must hold one */
	PushActiveSnapshot(GetTransactionSnapshot());
	open_segment(next);
}

/*
 * Adds one row, formed by eb_log_tupdesc's order, which must stay where it is
 * until the next flush.  Offsets must rise.
 */
void
eb_log_append(int64 offset, HeapTupleHeader row, uint32 len)
{
	if (offset >= writer.segment.end || offset < writer.segment.first)
	{
		eb_log_append_flush();
		close_segment();
		open_segment(offset);
	}
	/* the first column, not null: right behind the header */
	memcpy((char *) row + row->t_hoff, &offset, sizeof(offset));
	fill_slot(writer.nrows, row, len);
	writer.nrows++;
	if (writer.nrows == BATCH_ROWS)
		eb_log_append_flush();
}

/* Writes what waits. */
void
eb_log_append_flush(void)
{
	MemoryContext oldcontext;

	if (writer.nrows == 0)
		return;
	CHECK_FOR_INTERRUPTS();
	if (batch_context == NULL)
		batch_context = AllocSetContextCreate(TopMemoryContext, "eventbus log batch",
											  ALLOCSET_DEFAULT_SIZES);
	oldcontext = MemoryContextSwitchTo(batch_context);
	if (writer.nrows == 1)
		table_tuple_insert(writer.rel, slots[0], writer.cid, 0, NULL);
	else
		table_multi_insert(writer.rel, slots, writer.nrows, writer.cid, 0, NULL);
	for (int k = 0; k < cache.nindexes; k++)
		for (int i = 0; i < writer.nrows; i++)
			insert_index(&cache.indexes[k], slots[i]);
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(batch_context);
	clear_slots();
}

/* Writes what waits and closes; the locks stay until the transaction ends. */
void
eb_log_append_end(void)
{
	eb_log_append_flush();
	close_segment();
	PopActiveSnapshot();
}
