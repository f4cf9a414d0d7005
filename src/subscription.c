/*
 * subscription.c
 *	  The durable subscriptions of this database, cached in the backend.
 *
 * The cache is read whole and replaced whole: a relcache invalidation of
 * eventbus.subscription marks it stale, the next use fills a new context and
 * then swaps, so that an error half-way leaves a cache that is stale but sound.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonpath.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog.h"
#include "duration.h"
#include "grant.h"
#include "subscription.h"

static MemoryContext cache_context = NULL;
static List *cache = NIL;
static bool valid = false;
static bool missed = false;		/* an invalidation came while we read */
static uint64 cache_generation = 0;
static Oid	cached_relid = InvalidOid;
static bool registered = false;

static void
invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == cached_relid)
	{
		valid = false;
		missed = true;
	}
}

static int64
interval_us(Datum value)
{
	return eb_duration_us(DatumGetIntervalP(value), "interval", 0);
}

/* Builds one entry in the current context. */
static EbSubscription *
read_subscription(EbDb *db, HeapTuple tuple, TupleDesc desc)
{
	Datum		v[EB_SUB_NATTS];
	bool		null[EB_SUB_NATTS];
	EbSubscription *sub = palloc0(sizeof(EbSubscription));
	char	   *ordering;
	Datum		values[64];
	bool		nulls[64];

	Assert(desc->natts >= EB_SUB_NATTS && desc->natts <= 64);
	heap_deform_tuple(tuple, desc, values, nulls);
	memcpy(v, values, sizeof(v));
	memcpy(null, nulls, sizeof(null));

	sub->id = DatumGetInt32(v[EB_SUB_ID - 1]);
	sub->name = TextDatumGetCString(v[EB_SUB_NAME - 1]);
	sub->owner = DatumGetObjectId(v[EB_SUB_OWNER - 1]);
	sub->topics = eb_topic_compile_array(DatumGetArrayTypePCopy(v[EB_SUB_TOPICS - 1]));
	if (!null[EB_SUB_FILTER - 1])
		sub->filter = eb_filter_compile(DatumGetJsonPathPCopy(v[EB_SUB_FILTER - 1]));
	sub->start_offset = DatumGetInt64(v[EB_SUB_START_OFFSET - 1]);
	ordering = TextDatumGetCString(v[EB_SUB_ORDERING - 1]);
	sub->ordered = (strcmp(ordering, "aggregate") == 0);
	sub->batch_size = DatumGetInt32(v[EB_SUB_BATCH_SIZE - 1]);
	sub->batch_window = interval_us(v[EB_SUB_BATCH_WINDOW - 1]);
	sub->lease = interval_us(v[EB_SUB_LEASE - 1]);
	sub->max_attempts = DatumGetInt32(v[EB_SUB_MAX_ATTEMPTS - 1]);
	sub->backoff = interval_us(v[EB_SUB_BACKOFF - 1]);
	sub->backoff_max = interval_us(v[EB_SUB_BACKOFF_MAX - 1]);
	sub->dlq_replay_after = null[EB_SUB_DLQ_REPLAY_AFTER - 1] ? -1 :
		interval_us(v[EB_SUB_DLQ_REPLAY_AFTER - 1]);
	sub->dlq_replay_max = DatumGetInt32(v[EB_SUB_DLQ_REPLAY_MAX - 1]);
	sub->paused = DatumGetBool(v[EB_SUB_PAUSED - 1]);
	sub->shared = eb_shmem_sub(db, sub->id);
	return sub;
}

static void
reload(void)
{
	EbDb	   *db = eb_shmem_db();
	MemoryContext fresh;
	MemoryContext old;
	List	   *list = NIL;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		registered = true;
	}
	cached_relid = eb_catalog()->subscription;
	rel = table_open(cached_relid, AccessShareLock);

	fresh = AllocSetContextCreate(CurrentMemoryContext, "eventbus subscriptions",
								  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(fresh);

	/* An invalidation from here on makes what we read stale again. */
	missed = false;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		list = lappend(list, read_subscription(db, tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	MemoryContextSwitchTo(old);
	table_close(rel, AccessShareLock);

	MemoryContextSetParent(fresh, CacheMemoryContext);
	if (cache_context != NULL)
		MemoryContextDelete(cache_context);
	cache_context = fresh;
	cache = list;
	valid = !missed;
	cache_generation++;
}

/* See subscription.h. */
List *
eb_subscription_all(uint64 *generation)
{
	if (!valid || cached_relid != eb_catalog()->subscription)
	{
		valid = false;
		reload();
	}
	if (generation != NULL)
		*generation = cache_generation;
	return cache;
}

EbSubscription *
eb_subscription_if_exists(const char *name)
{
	ListCell   *lc;

	foreach(lc, eb_subscription_all(NULL))
	{
		EbSubscription *sub = lfirst(lc);

		if (strcmp(sub->name, name) == 0)
			return sub;
	}
	return NULL;
}

EbSubscription *
eb_subscription_by_name(const char *name)
{
	EbSubscription *sub = eb_subscription_if_exists(name);

	if (sub == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" does not exist", name),
				 errhint("Create it with eb_subscribe.")));
	return sub;
}

EbSubscription *
eb_subscription_by_id(int32 id)
{
	ListCell   *lc;

	foreach(lc, eb_subscription_all(NULL))
	{
		EbSubscription *sub = lfirst(lc);

		if (sub->id == id)
			return sub;
	}
	return NULL;
}

bool
eb_subscription_hold(int32 id, bool wait)
{
	Oid			types[1] = {INT4OID};
	Datum		args[1] = {Int32GetDatum(id)};
	EbOwnerScope scope;
	bool		held;

	eb_owner_begin(&scope);
	SPI_connect();
	if (SPI_execute_with_args(wait ? "SELECT FROM eventbus.subscription WHERE id = $1 FOR KEY SHARE" :
							  "SELECT FROM eventbus.subscription WHERE id = $1 FOR KEY SHARE SKIP LOCKED",
							  1, types, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not lock subscription %d", id);
	held = (SPI_processed > 0);
	SPI_finish();
	eb_owner_end(&scope);
	return held;
}

static const char *
owner_name(const EbSubscription *sub)
{
	char	   *name = GetUserNameFromId(sub->owner, true);

	return name ? name : "(dropped)";
}

/* For code that runs with other rights than the caller's. */
void
eb_subscription_check_owner_as(const EbSubscription *sub, Oid user)
{
	if (!has_privs_of_role(user, sub->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of subscription \"%s\"", sub->name),
				 errhint("Become a member of its owner, role \"%s\".", owner_name(sub))));
}

void
eb_subscription_check_owner(const EbSubscription *sub)
{
	eb_subscription_check_owner_as(sub, GetUserId());
}

void
eb_subscription_check_consumer(const EbSubscription *sub)
{
	if (!has_privs_of_role(GetUserId(), sub->owner) &&
		!eb_grant_may_consume(GetUserId(), sub->id))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for subscription \"%s\"", sub->name),
				 errhint("Ask its owner, role \"%s\", for eb_grant('consume', ...).", owner_name(sub))));
}

void
eb_subscription_changed(void)
{
	CacheInvalidateRelcacheByRelid(eb_catalog()->subscription);
}
