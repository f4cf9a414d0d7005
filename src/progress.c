/*
 * progress.c
 *	  eventbus.progress and eventbus.seek: how far the relay has come.
 *
 * Progress is insert-only and its last row counts, so that nothing has to be
 * found again through dead versions.  Positions never fall, and the pass number
 * tells the later of two rows with one position.  The row is written in the transaction of
 * the deliveries it stands for.  Its time is taken after the safe offset was
 * read: whatever commits later has a higher offset than its position.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "progress.h"

enum
{
	PROGRESS_POSITION = 1,
	PROGRESS_PASS,
	PROGRESS_AT,
	PROGRESS_CURSORS,
	PROGRESS_NATTS = PROGRESS_CURSORS
};

enum
{
	SEEK_SUBSCRIPTION = 1,
	SEEK_POSITION,
	SEEK_CLEAR
};

static List *
decode_cursors(Datum value)
{
	List	   *cursors = NIL;
	Datum	   *elems;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(value), INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &elems, NULL, &n);
	for (int i = 0; i + 1 < n; i += 2)
	{
		EbCursor   *cursor = palloc0(sizeof(EbCursor));

		cursor->subscription_id = (int32) DatumGetInt64(elems[i]);
		cursor->position = DatumGetInt64(elems[i + 1]);
		cursors = lappend(cursors, cursor);
	}
	return cursors;
}

/* Reads the last row, or position 0 if there is none. */
void
eb_progress_read(EbProgress *progress, Snapshot snapshot)
{
	const EbCatalog *c = eb_catalog();
	Relation	rel = table_open(c->progress, AccessShareLock);
	Relation	index = index_open(c->progress_position, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = eb_index_beginscan(rel, index, snapshot, 0);

	memset(progress, 0, sizeof(EbProgress));
	index_rescan(scan, NULL, 0, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		slot_getallattrs(slot);
		progress->pass = DatumGetInt64(slot->tts_values[PROGRESS_PASS - 1]);
		progress->position = DatumGetInt64(slot->tts_values[PROGRESS_POSITION - 1]);
		progress->at = DatumGetTimestampTz(slot->tts_values[PROGRESS_AT - 1]);
		if (!slot->tts_isnull[PROGRESS_CURSORS - 1])
			progress->cursors = decode_cursors(slot->tts_values[PROGRESS_CURSORS - 1]);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
}

/* Appends a row. */
void
eb_progress_write(const EbProgress *progress)
{
	Relation	rel = table_open(eb_catalog()->progress, RowExclusiveLock);
	Datum		values[PROGRESS_NATTS];
	bool		nulls[PROGRESS_NATTS] = {0};

	values[PROGRESS_PASS - 1] = Int64GetDatum(progress->pass);
	values[PROGRESS_POSITION - 1] = Int64GetDatum(progress->position);
	values[PROGRESS_AT - 1] = TimestampTzGetDatum(progress->at);
	nulls[PROGRESS_CURSORS - 1] = (progress->cursors == NIL);
	if (progress->cursors != NIL)
	{
		int			n = list_length(progress->cursors);
		Datum	   *elems = palloc(2 * n * sizeof(Datum));
		ListCell   *lc;

		foreach(lc, progress->cursors)
		{
			EbCursor   *cursor = lfirst(lc);
			int			i = 2 * foreach_current_index(lc);

			elems[i] = Int64GetDatum(cursor->subscription_id);
			elems[i + 1] = Int64GetDatum(cursor->position);
		}
		values[PROGRESS_CURSORS - 1] =
			PointerGetDatum(construct_array(elems, 2 * n, INT8OID, sizeof(int64),
											FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
}

static EbCursor *
decode_seek(TupleTableSlot *slot)
{
	EbCursor   *seek = palloc0(sizeof(EbCursor));

	slot_getallattrs(slot);
	seek->subscription_id = DatumGetInt32(slot->tts_values[SEEK_SUBSCRIPTION - 1]);
	seek->position = DatumGetInt64(slot->tts_values[SEEK_POSITION - 1]);
	seek->clear = DatumGetBool(slot->tts_values[SEEK_CLEAR - 1]);
	return seek;
}

/* The seek requests that the relay has not taken yet, as EbCursor. */
List *
eb_progress_seeks(Snapshot snapshot)
{
	Relation	rel = table_open(eb_catalog()->seek, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	List	   *seeks = NIL;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		seeks = lappend(seeks, decode_seek(slot));
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return seeks;
}

/*
 * Reads and deletes the seek requests.  One whose row another session has locked
 * is left for a later pass: the relay waits for nobody.  So is one of a subscription
 * that the caller's cache does not show yet: a new row is visible a moment before
 * the invalidation that announces it arrives.
 */
List *
eb_progress_take_seeks(Snapshot snapshot, bool (*known) (void *arg, int32 id),
					   void *arg, bool *left)
{
	Relation	rel = table_open(eb_catalog()->seek, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	List	   *seeks = NIL;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		TM_FailureData failure;
		bool		isnull;

		if (!known(arg, DatumGetInt32(slot_getattr(slot, SEEK_SUBSCRIPTION, &isnull))))
		{
			*left = true;
			continue;
		}
		if (table_tuple_delete(rel, &slot->tts_tid, GetCurrentCommandId(true),
							   snapshot, InvalidSnapshot, false, &failure, false) != TM_Ok)
			continue;
		seeks = lappend(seeks, decode_seek(slot));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return seeks;
}
