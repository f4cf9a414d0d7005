/*
 * dedup_partition.c
 *	  The partitions of eventbus.dedup and eventbus.once, by the time inside the ids.
 *
 * A partition spans an eighth of the window, so that at most a ninth more is kept
 * than asked for, and forgetting is dropping a table.  After a change of the window
 * new partitions fit themselves between those that exist.  The list is cached as
 * the log's is: marked by an invalidation, filled and published at the next use.
 */
#include "postgres.h"

#include <time.h>

#include "access/relation.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "dedup.h"
#include "dedup_partition.h"
#include "guc.h"
#include "partition.h"
#include "uuid7.h"

#define PARTITIONS_PER_WINDOW	8

/* Ids may be that much ahead of the clock; see eb_dedup_check. */
#define AHEAD				(5 * USECS_PER_MINUTE)

/* Insert-only, small rows, dropped whole. */
#define PARTITION_STORAGE	"fillfactor = 100, autovacuum_analyze_scale_factor = 1"

/* A table of ids, and the cached list of its partitions. */
typedef struct IdTable
{
	const char *name;
	const char *key;
	bool		ahead;			/* partitions are made before they are needed */
	MemoryContext context;
	Oid			parent;
	EbPartition *partitions;
	int			n;
	bool		valid;
} IdTable;

static IdTable tables[] = {
	[EB_DEDUP_EMIT] = {.name = "dedup", .key = "event_id", .ahead = true},
	[EB_DEDUP_ONCE] = {.name = "once", .key = "event_id, scope"},
};

static bool missed = false;		/* an invalidation came while we read */

static void
invalidate(Datum arg, Oid relid)
{
	for (int i = 0; i < lengthof(tables); i++)
		if (relid == InvalidOid || relid == tables[i].parent)
		{
			tables[i].valid = false;
			missed = true;
		}
}

static Oid
parent_of(const IdTable *table)
{
	return table == &tables[EB_DEDUP_ONCE] ? eb_catalog()->once : eb_catalog()->dedup;
}

static void
fill(IdTable *table)
{
	static bool registered = false;
	MemoryContext context;
	MemoryContext oldcontext;
	EbPartition *filled;
	Oid			parent;
	int			n;

	if (table->valid)
		return;
	if (!registered)
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	registered = true;
	parent = parent_of(table);
	context = AllocSetContextCreate(CacheMemoryContext, "eventbus dedup partitions",
									ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(context);
	table->parent = parent;
	do
	{
		CHECK_FOR_INTERRUPTS();
		missed = false;
		filled = eb_partition_list(parent, &n);
	} while (missed);
	MemoryContextSwitchTo(oldcontext);

	if (table->context != NULL)
		MemoryContextDelete(table->context);
	table->context = context;
	table->partitions = filled;
	table->n = n;
	table->valid = true;		/* an error on the way leaves it false */
}

static int
compare(const pg_uuid_t *a, Datum b)
{
	return memcmp(a, DatumGetUUIDP(b), sizeof(pg_uuid_t));
}

/* Index of the first partition that ends above id; table->n if none does. */
static int
search(IdTable *table, const pg_uuid_t *id)
{
	int			i = table->n;

	while (i > 0 && compare(id, table->partitions[i - 1].upper) < 0)
		i--;
	return i;
}

static int64
partition_width(void)
{
	int64		window = (int64) eb_dedup_window * USECS_PER_SEC;

	return Max(window / PARTITIONS_PER_WINDOW, USECS_PER_MINUTE);
}

/* A whole multiple of width at or below at. */
static TimestampTz
align(TimestampTz at, int64 width)
{
	return at - ((at % width) + width) % width;
}

static char *
uuid_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

/* <table>_<UTC time of the lower bound> */
static void
partition_name(const IdTable *table, TimestampTz lower, char *name)
{
	pg_time_t	t = timestamptz_to_time_t(lower);
	struct pg_tm *tm = pg_gmtime(&t);

	snprintf(name, NAMEDATALEN, "%s_%04d%02d%02d_%02d%02d%02d", table->name,
			 tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday,
			 tm->tm_hour, tm->tm_min, tm->tm_sec);
}

/* Makes the partition for ids of that time; it does not exist, parent locked. */
static void
create_partition(IdTable *table, TimestampTz at, int i)
{
	int64		width = partition_width();
	TimestampTz from = align(at, width);
	pg_uuid_t	lower;
	pg_uuid_t	upper;
	char		name[NAMEDATALEN];

	eb_uuid7_floor(from, &lower);
	eb_uuid7_floor(from + width, &upper);
	if (i > 0 && compare(&lower, table->partitions[i - 1].upper) < 0)
		lower = *DatumGetUUIDP(table->partitions[i - 1].upper);
	if (i < table->n && compare(&upper, table->partitions[i].lower) > 0)
		upper = *DatumGetUUIDP(table->partitions[i].lower);
	partition_name(table, eb_uuid7_time(&lower), name);
	eb_partition_create(&(EbPartitionMake) {
		.parent = table->name, .name = name, .lower = uuid_text(&lower), .upper = uuid_text(&upper),
		.key = table->key, .storage = PARTITION_STORAGE
	});
}

/* The partition that holds id, or InvalidOid. */
static Oid
lookup(IdTable *table, const pg_uuid_t *id)
{
	int			i;

	fill(table);
	i = search(table, id);
	if (i < table->n && compare(id, table->partitions[i].lower) >= 0)
		return table->partitions[i].relid;
	return InvalidOid;
}

/* Creates it if it is missing; the parent's lock serialises makers. */
static void
ensure(IdTable *table, const pg_uuid_t *id)
{
	LockRelationOid(parent_of(table), ShareUpdateExclusiveLock);
	if (!OidIsValid(lookup(table, id)))
		create_partition(table, eb_uuid7_time(id), search(table, id));
}

Relation
eb_dedup_partition_open(EbDedupTable which, const pg_uuid_t *id, LOCKMODE lockmode)
{
	IdTable    *table = &tables[which];

	for (;;)
	{
		Oid			relid = lookup(table, id);
		Relation	rel;

		if (!OidIsValid(relid))
		{
			ensure(table, id);
			continue;
		}
		rel = try_relation_open(relid, lockmode);
		if (rel == NULL)
			continue;
		if (lookup(table, id) == relid)	/* still, after waiting for the lock */
			return rel;
		relation_close(rel, lockmode);
	}
}

/*
 * Makes the partitions of the whole window and of what may come before the next
 * call, so that no emitter has to, who would keep others waiting until its commit.
 */
static void
create_ahead(IdTable *table, TimestampTz now)
{
	int64		width = partition_width();
	TimestampTz last = now + Max(width, AHEAD);

	for (TimestampTz at = now - (int64) eb_dedup_window * USECS_PER_SEC;
		 at < last + width; at += width)
	{
		pg_uuid_t	id;

		eb_uuid7_floor(Min(at, last), &id);
		if (OidIsValid(lookup(table, &id)))
			continue;
		if (!ConditionalLockRelationOid(parent_of(table), ShareUpdateExclusiveLock))
			return;
		if (!OidIsValid(lookup(table, &id)))
		{
			create_partition(table, eb_uuid7_time(&id), search(table, &id));
			CommandCounterIncrement();
		}
	}
}

/* Drops what ended before the window; an id on its edge may be being claimed. */
static void
drop_expired(IdTable *table, TimestampTz now)
{
	pg_uuid_t	edge;

	eb_uuid7_floor(now - (int64) eb_dedup_window * USECS_PER_SEC - AHEAD, &edge);
	for (;;)
	{
		Oid			relid;
		char	   *name;

		fill(table);
		if (table->n == 0 || compare(&edge, table->partitions[0].upper) < 0)
			return;
		relid = table->partitions[0].relid;
		if (!ConditionalLockRelationOid(parent_of(table), AccessExclusiveLock) ||
			!ConditionalLockRelationOid(relid, AccessExclusiveLock))
			return;
		name = get_rel_name(relid);
		if (name == NULL)
			return;
		eb_partition_drop(name);
		CommandCounterIncrement();
	}
}

void
eb_dedup_maintain(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < lengthof(tables); i++)
	{
		fill(&tables[i]);
		if (tables[i].ahead || tables[i].n > 0)
			create_ahead(&tables[i], now);
		drop_expired(&tables[i], now);
	}
}
