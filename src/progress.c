/*
 * progress.c
 *	  eventbus.progress and eventbus.seek: how far the relay has come.
 *
 * Progress is insert-only and its last row counts, so that nothing has to be
 * found again through dead versions.  Two stores take turns with it, so that they
 * can be truncated; of each second a row is copied to a third, which tells where the
 * log was at a time and is pruned with it.  Positions never fall, and the pass number
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
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "guc.h"
#include "progress.h"
#include "store.h"

/* A row is kept of as much time, for eb_offset_at and retention. */
#define KEEP_EVERY_US	USECS_PER_SEC

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

/*
 * Takes over a store's last row if that is later than *progress.  Locks are given back
 * at once, as for a catalog: who waits in eb_await must not keep the space from returning.
 */
static void
read_store(int store, Snapshot snapshot, EbProgress *progress)
{
	const EbStoreOids *oids = &eb_catalog()->progress[store];
	Relation	rel = table_open(oids->table, AccessShareLock);
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc scan;

	if (RelationGetNumberOfBlocks(rel) == 0)
	{
		table_close(rel, AccessShareLock);
		return;
	}
	index = index_open(oids->index[0], AccessShareLock);
	slot = table_slot_create(rel, NULL);
	scan = eb_index_beginscan(rel, index, snapshot, 0);
	index_rescan(scan, NULL, 0, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		int64		position;
		int64		pass;

		slot_getallattrs(slot);
		position = DatumGetInt64(slot->tts_values[EB_PROGRESS_POSITION - 1]);
		pass = DatumGetInt64(slot->tts_values[EB_PROGRESS_PASS - 1]);
		if (progress->at == 0 || position > progress->position ||
			(position == progress->position && pass > progress->pass))
		{
			progress->store = store;
			progress->position = position;
			progress->pass = pass;
			progress->at = DatumGetTimestampTz(slot->tts_values[EB_PROGRESS_AT - 1]);
			progress->cursors = slot->tts_isnull[EB_PROGRESS_CURSORS - 1] ? NIL :
				decode_cursors(slot->tts_values[EB_PROGRESS_CURSORS - 1]);
		}
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

/*
 * Reads the last row, or position 0 if there is none.  It is in one of the stores
 * that take turns; a row that was kept is a copy.
 */
void
eb_progress_read(EbProgress *progress, Snapshot snapshot)
{
	memset(progress, 0, sizeof(EbProgress));
	for (int store = 0; store < EB_PROGRESS_KEPT; store++)
		read_store(store, snapshot, progress);
	if (progress->at == 0)
		read_store(EB_PROGRESS_KEPT, snapshot, progress);
}

static void
insert(int store, Datum *values, bool *nulls)
{
	Relation	rel = table_open(eb_catalog()->progress[store].table, RowExclusiveLock);

	values[EB_PROGRESS_STORE - 1] = Int16GetDatum(store);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
}

/* Appends a row, and once a second a copy that is kept.  Passes are locked. */
void
eb_progress_write(const EbProgress *progress)
{
	static TimestampTz kept_at = 0;
	Datum		values[EB_PROGRESS_NATTS];
	bool		nulls[EB_PROGRESS_NATTS] = {0};

	values[EB_PROGRESS_PASS - 1] = Int64GetDatum(progress->pass);
	values[EB_PROGRESS_POSITION - 1] = Int64GetDatum(progress->position);
	values[EB_PROGRESS_AT - 1] = TimestampTzGetDatum(progress->at);
	nulls[EB_PROGRESS_CURSORS - 1] = (progress->cursors == NIL);
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
		values[EB_PROGRESS_CURSORS - 1] =
			PointerGetDatum(construct_array(elems, 2 * n, INT8OID, sizeof(int64),
											FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	insert(eb_ring_current(eb_ring_state(&eb_shmem_db()->progress)), values, nulls);
	if (progress->at - kept_at >= KEEP_EVERY_US || progress->at < kept_at)
	{
		insert(EB_PROGRESS_KEPT, values, nulls);
		kept_at = progress->at;
	}
}

/* A store that the last row is not in need not be looked into. */
static bool
always_unused(Relation rel)
{
	return true;
}

/*
 * Lets the other store take over when the current one is large, and truncates that
 * which is not current.  Passes are locked.
 */
void
eb_progress_rotate(EbDb *db)
{
	EbRing	   *ring = &db->progress;
	const EbStoreOids *oids = eb_catalog()->progress;
	int			current = eb_ring_current(eb_ring_state(ring));
	int			other = 1 - current;
	EbProgress	last;

	if (eb_queue_rotate_size == 0 || eb_store_mine(oids[0].table) || eb_store_mine(oids[1].table))
		return;
	if (eb_store_is_clean(oids[other].table))
	{
		if (eb_store_size(oids[current].table) >= eb_queue_rotate_size * INT64CONST(1024))
			eb_ring_switch(ring, other);
		return;
	}
	if (!eb_ring_empty(eb_ring_state(ring), other))
	{
		eb_progress_read(&last, GetActiveSnapshot());
		if (last.at == 0 || last.store != current)
			return;				/* nothing was written since the switch */
		eb_ring_note_empty(ring, other);
	}
	if (eb_store_may_truncate(ring, other, oids[other].table))
		(void) eb_store_truncate(oids[other].table, always_unused);
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
