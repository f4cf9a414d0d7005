/*
 * log_read.c
 *	  Reading the log: by offset, by id, by time, and its extremes.
 *
 * Relations are closed without giving their locks back before the transaction
 * ends, as everywhere in the server.  Snapshots are the caller's and stay
 * registered for as long as the scan.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog.h"
#include "compat.h"
#include "epoch.h"
#include "eventbus.h"
#include "log.h"
#include "log_segment.h"
#include "progress.h"
#include "shmem.h"
#include "uuid7.h"

/*
 * How much older than its id an event's place in the log may seem: an id may be
 * ahead of the server's clock, and clocks get set back.
 */
#define ID_CLOCK_SLACK		(10 * USECS_PER_MINUTE)

/* The log's row type, built by hand so that no relation need be open. */
TupleDesc
eb_log_tupdesc(void)
{
	static TupleDesc tupdesc = NULL;
	static const struct
	{
		const char *name;
		Oid			type;
	}			columns[EB_LOG_NATTS] = {
		{"offset", INT8OID},
		{"deliver_at", TIMESTAMPTZOID},
		{"event_id", UUIDOID},
		{"correlation_id", UUIDOID},
		{"causation_id", UUIDOID},
		{"priority", INT2OID},
		{"type", TEXTOID},
		{"aggregate_id", TEXTOID},
		{"payload", JSONBOID},
		{"headers", JSONBOID},
	};

	if (tupdesc == NULL)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(CacheMemoryContext);
		TupleDesc	built = CreateTemplateTupleDesc(EB_LOG_NATTS);

		for (int i = 0; i < EB_LOG_NATTS; i++)
			TupleDescInitEntry(built, i + 1, columns[i].name, columns[i].type, -1, 0);
		MemoryContextSwitchTo(oldcontext);
		tupdesc = built;
	}
	return tupdesc;
}

/* A visible row with this id in one segment, copied; NULL if there is none. */
static TupleTableSlot *
find_in_segment(EbSegment *segment, const pg_uuid_t *event_id, Snapshot snapshot)
{
	Relation	rel = eb_log_segment_open(segment, AccessShareLock);
	Relation	index;
	IndexScanDesc desc;
	ScanKeyData key;
	TupleTableSlot *slot;
	TupleTableSlot *found = NULL;

	if (rel == NULL)
		return NULL;
	index = index_open(segment->id_index, AccessShareLock);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(event_id));
	desc = eb_index_beginscan(rel, index, snapshot, 1);
	index_rescan(desc, &key, 1, NULL, 0);
	slot = MakeSingleTupleTableSlot(eb_log_tupdesc(), table_slot_callbacks(rel));
	if (index_getnext_slot(desc, ForwardScanDirection, slot))
	{
		found = MakeSingleTupleTableSlot(eb_log_tupdesc(), &TTSOpsHeapTuple);
		ExecCopySlot(found, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(desc);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return found;
}

/*
 * Looks from the newest segment down to the one where the log stood when the id was
 * made: an event is committed after its id is made.
 */
TupleTableSlot *
eb_log_find(const pg_uuid_t *event_id, Snapshot snapshot)
{
	int64		floor = eb_log_offset_at(eb_uuid7_time(event_id) - ID_CLOCK_SLACK);
	EbSegment	segment;

	AcceptInvalidationMessages();
	for (int i = eb_log_segment_count() - 1; eb_log_segment_nth(i, &segment); i--)
	{
		TupleTableSlot *slot;

		if (segment.end <= floor)
			break;
		slot = find_in_segment(&segment, event_id, snapshot);
		if (slot != NULL)
			return slot;
	}
	return NULL;
}

/*
 * The first key of a bigint index from either end, whether or not its row is
 * visible or even still there; EB_NO_OFFSET if the index is empty.
 */
static int64
extreme_key(Relation rel, Oid indexoid, ScanDirection direction)
{
	Relation	index = index_open(indexoid, AccessShareLock);
	IndexScanDesc desc = eb_index_beginscan(rel, index, SnapshotAny, 0);
	int64		key = EB_NO_OFFSET;
	bool		isnull;

	desc->xs_want_itup = true;
	desc->ignore_killed_tuples = false;
	index_rescan(desc, NULL, 0, NULL, 0);
	if (index_getnext_tid(desc, direction) != NULL)
		key = DatumGetInt64(index_getattr(desc->xs_itup, 1, desc->xs_itupdesc, &isnull));
	index_endscan(desc);
	index_close(index, NoLock);
	return key;
}

static int64
extreme_of_segment(EbSegment *segment, ScanDirection direction)
{
	Relation	rel = eb_log_segment_open(segment, AccessShareLock);
	int64		offset;

	if (rel == NULL)
		return EB_NO_OFFSET;
	offset = extreme_key(rel, segment->offset_index, direction);
	table_close(rel, NoLock);
	return offset;
}

int64
eb_log_max_offset(void)
{
	EbSegment	segment;
	int64		offset = EB_NO_OFFSET;

	for (int i = eb_log_segment_count() - 1;
		 offset == EB_NO_OFFSET && eb_log_segment_nth(i, &segment); i--)
		offset = extreme_of_segment(&segment, BackwardScanDirection);
	return offset;
}

int64
eb_log_first_offset(void)
{
	EbSegment	segment;
	int64		offset = EB_NO_OFFSET;

	for (int i = 0; offset == EB_NO_OFFSET && eb_log_segment_nth(i, &segment); i++)
		offset = extreme_of_segment(&segment, ForwardScanDirection);
	return offset;
}

/* The last position in eventbus.progress, committed or not. */
static int64
last_position(void)
{
	int64		position = EB_NO_OFFSET;

	for (int i = 0; i < EB_STORES; i++)
	{
		const EbStoreOids *store = &eb_catalog()->progress[i];
		Relation	rel = table_open(store->table, AccessShareLock);

		position = Max(position, extreme_key(rel, store->index[0], BackwardScanDirection));
		table_close(rel, NoLock);
	}
	return position;
}

/*
 * After a restart the counter must be above every offset that anyone may have
 * seen: above all on disk, committed or not, and above the relay's position.
 * Nobody can reserve before, so nothing is being written while we look.
 */
EbDb *
eb_log_sequencer(void)
{
	EbDb	   *db = eb_shmem_db();

	if (!eb_sequencer_ready(db))
	{
		int64		highest;

		/* a standby must not settle where offsets go on after its promotion */
		if (RecoveryInProgress())
			elog(ERROR, "a standby gives out no offsets");
		highest = eb_log_max_offset();
		eb_sequencer_start(db, eb_epoch_next_offset(Max(highest, last_position())));
	}
	return db;
}

/*
 * The order that decision 1 asks of every reader: safe offset first, snapshot
 * second.  A standby has no sequencer; there the relay's position serves, whose
 * commit follows that of every event at or below it.
 */
int64
eb_log_safe_snapshot(Snapshot *snapshot)
{
	int64		safe = EB_NO_OFFSET;
	bool		standby = RecoveryInProgress();

	if (!standby && eb_epoch_may_run(eb_shmem_db()))
		safe = eb_sequencer_safe(eb_log_sequencer());
	*snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (standby)
	{
		EbProgress	last;

		eb_progress_read(&last, *snapshot);
		safe = last.position;
	}
	return safe;
}

/*
 * The end of what has been inserted into the WAL.  At a page's start the server's
 * answer lies behind the page header, which nobody can flush up to yet.
 */
static XLogRecPtr
wal_end(void)
{
	XLogRecPtr	end = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(end, wal_segment_size) == SizeOfXLogLongPHD)
		return end - SizeOfXLogLongPHD;
	if (end % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return end - SizeOfXLogShortPHD;
	return end;
}

void
eb_log_make_durable(int64 offset)
{
	if (RecoveryInProgress() ||
		offset <= (int64) pg_atomic_read_u64(&eb_shmem_db()->routed))
		return;
	XLogFlush(wal_end());
}

/* The last row of a store of progress from before that time; 0 if there is none. */
static TimestampTz
progress_at(const EbStoreOids *store, TimestampTz at, Snapshot snapshot, int64 *position)
{
	Relation	rel = table_open(store->table, NoLock);
	Relation	index = index_open(store->index[1], AccessShareLock);
	IndexScanDesc desc = eb_index_beginscan(rel, index, snapshot, 1);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TimestampTz found = 0;
	ScanKeyData key;
	bool		isnull;

	ScanKeyInit(&key, 1, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
				TimestampTzGetDatum(at));
	index_rescan(desc, &key, 1, NULL, 0);
	if (index_getnext_slot(desc, BackwardScanDirection, slot))
	{
		*position = DatumGetInt64(slot_getattr(slot, EB_PROGRESS_POSITION, &isnull));
		found = DatumGetTimestampTz(slot_getattr(slot, EB_PROGRESS_AT, &isnull));
	}
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(desc);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return found;
}

int64
eb_log_offset_at(TimestampTz at)
{
	const EbCatalog *c = eb_catalog();
	Snapshot	snapshot;
	TimestampTz latest = 0;
	int64		latest_position = EB_NO_OFFSET;

	for (int i = 0; i < EB_STORES; i++) /* before the snapshot, see store.c */
		LockRelationOid(c->progress[i].table, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < EB_STORES; i++)
	{
		int64		position = EB_NO_OFFSET;
		TimestampTz found = progress_at(&c->progress[i], at, snapshot, &position);

		if (found > latest || (found == latest && found != 0 && position > latest_position))
		{
			latest = found;
			latest_position = position;
		}
	}
	UnregisterSnapshot(snapshot);
	if (latest == 0)
		return Max(eb_log_first_offset(), EB_NO_OFFSET + 1);
	return latest_position + 1;
}

void
eb_log_event_datums(TupleTableSlot *slot, Datum *values, bool *nulls)
{
	static const uint8 columns[EB_EVENT_NATTS - 1] = {
		EB_LOG_OFFSET, EB_LOG_EVENT_ID, EB_LOG_TYPE, EB_LOG_AGGREGATE_ID,
		EB_LOG_PAYLOAD, EB_LOG_CORRELATION_ID, EB_LOG_CAUSATION_ID,
		EB_LOG_HEADERS, EB_LOG_PRIORITY, EB_LOG_DELIVER_AT
	};

	slot_getallattrs(slot);
	for (int i = 0; i < lengthof(columns); i++)
	{
		values[i] = slot->tts_values[columns[i] - 1];
		nulls[i] = slot->tts_isnull[columns[i] - 1];
	}
	values[EB_EVENT_NATTS - 1] =
		TimestampTzGetDatum(eb_uuid7_time(DatumGetUUIDP(slot->tts_values[EB_LOG_EVENT_ID - 1])));
	nulls[EB_EVENT_NATTS - 1] = false;
}
