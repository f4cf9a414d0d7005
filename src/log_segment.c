/*
 * log_segment.c
 *	  The segments of the log: which there are, and making new ones.
 *
 * The list is cached under the relcache's invalidations: a callback marks it, the
 * next use fills a copy and publishes it.  Nobody keeps the parent locked; who
 * uses a segment locks that and then looks whether the list still names it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog.h"
#include "eventbus.h"
#include "guc.h"
#include "log.h"
#include "log_segment.h"
#include "partition.h"
#include "shmem.h"

/* Append-only: full pages, and vacuum only to set the visibility map. */
#define SEGMENT_STORAGE \
	"fillfactor = 100, autovacuum_vacuum_insert_scale_factor = 0, " \
	"autovacuum_vacuum_insert_threshold = 500000, autovacuum_analyze_scale_factor = 0.5"

static MemoryContext cache_context = NULL;
static Oid	cached_parent = InvalidOid;
static EbSegment *segments = NULL;
static int	nsegments = 0;
static bool valid = false;
static bool missed = false;		/* an invalidation came while we read */
static bool registered = false;
static uint64 generation = 1;
static TransactionId made_by = InvalidTransactionId;	/* who made the last one */
static int64 made_end = 0;		/* where that ends; 0 = all are told of it */
static Oid	made_in = InvalidOid;

static void
invalidate(Datum arg, Oid relid)
{
	bool		ours = (relid == InvalidOid || relid == cached_parent);

	for (int i = 0; i < nsegments && !ours; i++)
		ours = (segments[i].relid == relid);
	if (ours)
	{
		valid = false;
		missed = true;
		generation++;
	}
}

/* Fills the cache unless it is valid. */
static void
fill(void)
{
	MemoryContext context;
	MemoryContext oldcontext;
	EbPartition *partitions;
	EbSegment  *filled;
	Oid			parent;
	int			n;

	if (valid)
		return;
	if (!registered)
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	registered = true;
	parent = eb_catalog()->event;
	context = AllocSetContextCreate(CacheMemoryContext, "eventbus log segments",
									ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(context);
	cached_parent = parent;
	do
	{
		CHECK_FOR_INTERRUPTS();
		missed = false;
		partitions = eb_partition_list(parent, &n);
	} while (missed);
	filled = palloc0(sizeof(EbSegment) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		filled[i].relid = partitions[i].relid;
		filled[i].first = DatumGetInt64(partitions[i].lower);
		filled[i].end = DatumGetInt64(partitions[i].upper);
	}
	MemoryContextSwitchTo(oldcontext);

	if (cache_context != NULL)
		MemoryContextDelete(cache_context);
	cache_context = context;
	segments = filled;
	nsegments = n;
	valid = !missed;			/* an error on the way leaves it false */
}

int
eb_log_segment_count(void)
{
	fill();
	return nsegments;
}

uint64
eb_log_segment_generation(void)
{
	return generation;
}

bool
eb_log_segment_nth(int n, EbSegment *segment)
{
	fill();
	if (n < 0 || n >= nsegments)
		return false;
	*segment = segments[n];
	return true;
}

/* Index of the lowest segment that ends above offset; nsegments if none does. */
static int
search(int64 offset)
{
	int			low = 0;
	int			high = nsegments;

	if (nsegments > 0 && segments[nsegments - 1].first <= offset)
		low = nsegments - 1;	/* the common case */
	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (segments[mid].end > offset)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

bool
eb_log_segment_above(int64 offset, EbSegment *segment)
{
	fill();
	return eb_log_segment_nth(search(offset), segment);
}

/* Finds the indexes on the offset and on the id among a segment's indexes. */
static void
find_indexes(Relation rel, EbSegment *segment)
{
	List	   *list = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, list)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisvalid && form->indnkeyatts == 1 &&
			RelationGetIndexPredicate(index) == NIL)
		{
			if (form->indkey.values[0] == EB_LOG_OFFSET && form->indisunique)
				segment->offset_index = RelationGetRelid(index);
			else if (form->indkey.values[0] == EB_LOG_EVENT_ID)
				segment->id_index = RelationGetRelid(index);
		}
		index_close(index, NoLock);
	}
	list_free(list);
	if (!OidIsValid(segment->offset_index) || !OidIsValid(segment->id_index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("log segment \"%s\" lacks an index on offset or event_id",
						RelationGetRelationName(rel)),
				 errhint("Create the index again as on the other partitions of eventbus.event.")));
}

Relation
eb_log_segment_open(EbSegment *segment, LOCKMODE lockmode)
{
	Relation	rel = try_relation_open(segment->relid, lockmode);
	int			i;

	if (rel == NULL)
		return NULL;
	/* Waiting for the lock may have brought news. */
	fill();
	i = search(segment->first);
	if (i >= nsegments || segments[i].relid != segment->relid)
	{
		relation_close(rel, lockmode);
		return NULL;
	}
	*segment = segments[i];
	if (!OidIsValid(segment->offset_index))
	{
		if (RelationGetNumberOfAttributes(rel) != EB_LOG_NATTS)
			elog(ERROR, "unexpected columns in log segment \"%s\"",
				 RelationGetRelationName(rel));
		find_indexes(rel, segment);
		if (valid)
			segments[i] = *segment;
	}
	return rel;
}

/* The end of the last segment, where the next one begins. */
static int64
log_end(void)
{
	fill();
	return nsegments > 0 ? segments[nsegments - 1].end : EB_NO_OFFSET + 1;
}

/*
 * Makes the segment after the last.  Offsets that were skipped in bulk (the counter
 * may jump after a failover) do not get segments of their own: the new one
 * spans them.
 */
static void
create_next_segment(int64 counter)
{
	int64		first = log_end();
	int64		end = first + eb_segment_events;
	char		name[NAMEDATALEN];
	char		lower[32];
	char		upper[32];

	if (counter > end)
		end = counter + eb_segment_events;
	snprintf(name, sizeof(name), "event_" INT64_FORMAT, first);
	snprintf(lower, sizeof(lower), INT64_FORMAT, first);
	snprintf(upper, sizeof(upper), INT64_FORMAT, end);
	eb_partition_create(&(EbPartitionMake) {
		.parent = "event", .name = name, .lower = lower, .upper = upper,
		.key = "\"offset\"", .index = "event_id", .storage = SEGMENT_STORAGE
	});
}

/* Notes that the invalidations for all segments below end have been sent. */
static void
raise_told(int64 end)
{
	pg_atomic_uint64 *told = &eb_shmem_db()->told_end;
	uint64		old = pg_atomic_read_u64(told);

	while (old < (uint64) end && !pg_atomic_compare_exchange_u64(told, &old, (uint64) end))
		 /* somebody else raised it */ ;
}

/* What an earlier transaction of ours made and committed, others know by now. */
static void
tell_made(void)
{
	if (made_end == 0 || eb_log_segment_made())
		return;
	if (made_in == eb_catalog()->event && TransactionIdDidCommit(made_by))
		raise_told(made_end);
	made_end = 0;
}

/*
 * A segment is visible a moment before the invalidation that tells of it is sent,
 * and whoever passes an offset must have been told.  Its maker holds the parent's
 * lock until it has sent it.
 */
void
eb_log_segment_await_told(const EbSegment *segment)
{
	Oid			parent = eb_catalog()->event;

	if (pg_atomic_read_u64(&eb_shmem_db()->told_end) >= (uint64) segment->end ||
		eb_log_segment_made())
		return;
	LockRelationOid(parent, ShareUpdateExclusiveLock);
	UnlockRelationOid(parent, ShareUpdateExclusiveLock);
	raise_told(segment->end);
}

/*
 * Backends that need the same segment at once queue on the parent's lock, which is
 * held until the maker's transaction ends; the others then find it made.
 */
void
eb_log_ensure_segment(int64 offset)
{
	EbDb	   *db;

	tell_made();
	if (log_end() > offset)
		return;
	db = eb_log_sequencer();
	LockRelationOid(eb_catalog()->event, ShareUpdateExclusiveLock);
	while (log_end() <= offset)
	{
		create_next_segment(eb_sequencer_next(db));
		made_by = GetTopTransactionId();
		made_in = eb_catalog()->event;
		made_end = log_end();
	}
}

bool
eb_log_segment_made(void)
{
	return TransactionIdIsValid(made_by) && made_by == GetTopTransactionIdIfAny();
}
