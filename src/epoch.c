/*
 * epoch.c
 *	  On which cluster, timeline and database offsets were given out (decision 5).
 *
 * The bus knows itself by system identifier, timeline, database and extension.
 * When they are not those of the last row of eventbus.epoch it has moved: it was
 * promoted, restored from a dump, copied as a template or cloned.  Somebody may
 * then have seen offsets above the highest that came along, so the counter jumps
 * ahead, and the relay adds a row.
 *
 * A dump is restored in steps, and what runs in between would take a part for the
 * whole.  A freshly installed extension is therefore left alone until the first
 * call that changes something; the row that the installation leaves (it is not
 * dumped) tells a restored bus from one that was copied whole, and a restored one
 * waits until all of it is there.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "epoch.h"
#include "log.h"
#include "subscription.h"

PG_FUNCTION_INFO_V1(eventbus_epoch_state);
PG_FUNCTION_INFO_V1(eventbus_timeline);

/*
 * More than a primary can have given out beyond what its standby has.  At 100,000
 * events a second that is nearly three hours; bigint has room for billions of jumps.
 */
#define EPOCH_JUMP	INT64CONST(1000000000)

/* Columns of eventbus.epoch. */
enum
{
	EPOCH_ID = 1,
	EPOCH_SYSTEM_ID,
	EPOCH_TIMELINE,
	EPOCH_DATABASE,
	EPOCH_EXTENSION,
	EPOCH_FIRST_OFFSET,
	EPOCH_STARTED_AT,
	EPOCH_NATTS = EPOCH_STARTED_AT
};

typedef struct EbEpoch
{
	int64		id;				/* 0 = the installation */
	int64		system_id;
	int32		timeline;
	Oid			database;
	Oid			extension;
	int64		first_offset;
} EbEpoch;

typedef enum EbEpochState
{
	EPOCH_NEW,					/* installed here and never used */
	EPOCH_CURRENT,
	EPOCH_CHANGED,
	EPOCH_RESTORING
} EbEpochState;

static Oid
epoch_relid(void)
{
	return get_relname_relid("epoch", eb_catalog()->schema);
}

static void
decode(TupleTableSlot *slot, EbEpoch *epoch)
{
	Datum	   *v;

	slot_getallattrs(slot);
	v = slot->tts_values;
	epoch->id = DatumGetInt64(v[EPOCH_ID - 1]);
	epoch->system_id = DatumGetInt64(v[EPOCH_SYSTEM_ID - 1]);
	epoch->timeline = DatumGetInt32(v[EPOCH_TIMELINE - 1]);
	epoch->database = DatumGetObjectId(v[EPOCH_DATABASE - 1]);
	epoch->extension = DatumGetObjectId(v[EPOCH_EXTENSION - 1]);
	epoch->first_offset = DatumGetInt64(v[EPOCH_FIRST_OFFSET - 1]);
}

static int32
current_timeline(void)
{
	return (int32) GetWALInsertionTimeLine();
}

/* Same cluster and database; the timeline is looked at apart. */
static bool
is_here(const EbEpoch *epoch)
{
	return epoch->system_id == (int64) GetSystemIdentifier() &&
		epoch->database == MyDatabaseId &&
		epoch->extension == eb_catalog()->extension;
}

/*
 * Reads the last epoch (id 0 if none); true if the extension was installed here.
 * *promoted tells whether that was on another timeline.
 */
static bool
read_epochs(EbEpoch *last, bool *promoted)
{
	Relation	rel = table_open(epoch_relid(), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	bool		installed = false;

	memset(last, 0, sizeof(EbEpoch));
	*promoted = false;
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		EbEpoch		epoch;

		decode(slot, &epoch);
		if (epoch.id == 0)
		{
			installed = is_here(&epoch);
			*promoted = (epoch.timeline != current_timeline());
		}
		else if (epoch.id > last->id)
			*last = epoch;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return installed;
}

/* Whether what is being restored is complete. */
static bool
restore_complete(void)
{
	EbOwnerScope scope;
	bool		complete;
	bool		isnull;

	PushActiveSnapshot(GetLatestSnapshot());
	eb_owner_begin(&scope);
	SPI_connect();
	if (SPI_execute("SELECT eventbus.restored()", false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not see whether a restore is complete");
	complete = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	eb_owner_end(&scope);
	PopActiveSnapshot();
	return complete;
}

static EbEpochState
get_state(EbEpoch *last)
{
	bool		promoted;
	bool		installed = read_epochs(last, &promoted);

	if (last->id == 0)
		return installed && !promoted ? EPOCH_NEW : EPOCH_CHANGED;
	if (is_here(last))
		return last->timeline == current_timeline() ? EPOCH_CURRENT : EPOCH_CHANGED;
	if (installed && !restore_complete())
		return EPOCH_RESTORING;
	return EPOCH_CHANGED;
}

/* See epoch.h. */
bool
eb_epoch_may_run(EbDb *db)
{
	EbEpoch		last;
	EbEpochState state;

	if (eb_sequencer_ready(db))
		return true;
	state = get_state(&last);
	return state == EPOCH_CURRENT || state == EPOCH_CHANGED;
}

/* See epoch.h. */
int64
eb_epoch_next_offset(int64 highest)
{
	EbEpoch		last;
	EbEpochState state = get_state(&last);

	if (state == EPOCH_RESTORING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a dump is being restored into this database"),
				 errhint("Try again when it is complete; eb_health() says what is missing.")));
	highest = Max(highest, last.first_offset - 1);
	if (state == EPOCH_CHANGED)
		highest += EPOCH_JUMP;
	return highest + 1;
}

/*
 * The sequence tells a restored bus that all rows are there; a promotion lets it
 * skip some, so the ids are counted apart and stay below.
 */
static void
insert_epoch(Relation rel, int64 id, int64 first_offset)
{
	Datum		values[EPOCH_NATTS];
	bool		nulls[EPOCH_NATTS] = {0};

	(void) nextval_internal(get_relname_relid("epoch_id", eb_catalog()->schema), false);
	values[EPOCH_ID - 1] = Int64GetDatum(id);
	values[EPOCH_SYSTEM_ID - 1] = Int64GetDatum((int64) GetSystemIdentifier());
	values[EPOCH_TIMELINE - 1] = Int32GetDatum(current_timeline());
	values[EPOCH_DATABASE - 1] = ObjectIdGetDatum(MyDatabaseId);
	values[EPOCH_EXTENSION - 1] = ObjectIdGetDatum(eb_catalog()->extension);
	values[EPOCH_FIRST_OFFSET - 1] = Int64GetDatum(first_offset);
	values[EPOCH_STARTED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	ereport(LOG,
			(errmsg("eventbus begins epoch " INT64_FORMAT " of database %u at offset " INT64_FORMAT,
					id, MyDatabaseId, first_offset)));
}

/*
 * See epoch.h.  What was known of the lanes may come from a half-restored queue
 * and is forgotten.  Whether the row is there is asked until a look shows it
 * committed.
 */
void
eb_epoch_maintain(EbDb *db)
{
	static Oid	recorded = InvalidOid;
	EbEpoch		last;
	Relation	rel;
	ListCell   *lc;

	if (recorded == eb_catalog()->extension)
		return;
	if (!ConditionalLockRelationOid(epoch_relid(), ShareRowExclusiveLock))
		return;
	if (get_state(&last) == EPOCH_CURRENT)
	{
		recorded = eb_catalog()->extension;
		return;
	}
	rel = table_open(epoch_relid(), RowExclusiveLock);
	insert_epoch(rel, last.id + 1, eb_sequencer_first(db));
	table_close(rel, NoLock);
	foreach(lc, eb_subscription_all(NULL))
	{
		EbSubscription *sub = lfirst(lc);

		eb_lane_rewind(sub->shared, sub->id);
	}
}

/*
 * See epoch.h.  Sessions that find the bus unused wait for each other here, at the
 * beginning of their commits; the first records the epoch for all.
 */
void
eb_epoch_record(void)
{
	static Oid	in_use = InvalidOid;
	EbEpoch		last;
	Relation	rel;

	if (in_use == eb_catalog()->extension)
		return;
	if (get_state(&last) != EPOCH_NEW)
	{
		in_use = eb_catalog()->extension;
		return;
	}
	rel = table_open(epoch_relid(), ShareRowExclusiveLock);
	if (get_state(&last) == EPOCH_NEW)
		insert_epoch(rel, last.id + 1, eb_sequencer_first(eb_log_sequencer()));
	table_close(rel, NoLock);
}

/* eventbus.epoch_state() */
Datum
eventbus_epoch_state(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"new", "current", "changed", "restoring"};
	EbEpoch		last;

	PG_RETURN_TEXT_P(cstring_to_text(names[get_state(&last)]));
}

/* eventbus.timeline() */
Datum
eventbus_timeline(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(current_timeline());
}
