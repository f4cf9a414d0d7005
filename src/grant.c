/*
 * grant.c
 *	  Rights: what eb_grant has granted, cached in the backend, and checking it.
 *
 * The rows are read whole, as the subscriptions are: an invalidation of the table
 * marks them, the next check fills a new context and swaps.  What one user may
 * emit is remembered apart, until a role's membership changes, so that a check
 * costs the comparison of a type with the last one in the usual case.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "eventbus.h"
#include "grant.h"
#include "topic.h"

/* Columns of eventbus.privilege. */
enum
{
	PRIVILEGE_NAME = 1,
	PRIVILEGE_PATTERN,
	PRIVILEGE_SUBSCRIPTION,
	PRIVILEGE_GRANTEE
};

typedef struct EbGrant
{
	EbPrivilege privilege;
	char	   *pattern;		/* NULL for consume */
	int32		subscription_id;	/* 0 but for consume */
	Oid			grantee;
} EbGrant;

static const char *const names[EB_PRIVILEGES] = {"emit", "consume", "subscribe", "read"};

static MemoryContext cache_context = NULL;
static List *grants = NIL;
static bool held[EB_PRIVILEGES];	/* somebody holds it */
static bool valid = false;
static bool missed = false;		/* an invalidation came while we read */
static Oid	cached_relid = InvalidOid;
static bool registered = false;

/* The last type that was found to be allowed, and to whom. */
static Oid	emitter = InvalidOid;
static int	emitter_len = -1;
static char emitter_type[EB_TYPE_MAX_LEN];

static void
invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == cached_relid)
	{
		valid = false;
		missed = true;
		emitter_len = -1;
	}
}

static void
invalidate_roles(Datum arg, int cacheid, uint32 hashvalue)
{
	emitter_len = -1;
}

static EbGrant *
read_grant(HeapTuple tuple, TupleDesc desc)
{
	EbGrant    *grant = palloc0(sizeof(EbGrant));
	bool		isnull;
	char	   *name = TextDatumGetCString(heap_getattr(tuple, PRIVILEGE_NAME, desc, &isnull));
	Datum		pattern = heap_getattr(tuple, PRIVILEGE_PATTERN, desc, &isnull);

	grant->pattern = isnull ? NULL : TextDatumGetCString(pattern);
	grant->subscription_id = DatumGetInt32(heap_getattr(tuple, PRIVILEGE_SUBSCRIPTION, desc, &isnull));
	if (isnull)
		grant->subscription_id = 0;
	grant->grantee = DatumGetObjectId(heap_getattr(tuple, PRIVILEGE_GRANTEE, desc, &isnull));
	for (int i = 0; i < EB_PRIVILEGES; i++)
		if (strcmp(name, names[i]) == 0)
			grant->privilege = i;
	return grant;
}

static void
reload(void)
{
	MemoryContext fresh;
	MemoryContext old;
	List	   *list = NIL;
	bool		any[EB_PRIVILEGES] = {0};
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, invalidate_roles, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, invalidate_roles, (Datum) 0);
		registered = true;
	}
	/* An error on the way leaves the cache stale: it must not let anyone in. */
	valid = false;
	emitter_len = -1;
	cached_relid = eb_catalog()->privilege;
	rel = table_open(cached_relid, AccessShareLock);
	fresh = AllocSetContextCreate(CurrentMemoryContext, "eventbus privileges",
								  ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(fresh);
	missed = false;				/* an invalidation from here on leaves it stale */
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		EbGrant    *grant = read_grant(tuple, RelationGetDescr(rel));

		any[grant->privilege] = true;
		list = lappend(list, grant);
	}
	systable_endscan(scan);
	MemoryContextSwitchTo(old);
	table_close(rel, AccessShareLock);

	MemoryContextSetParent(fresh, CacheMemoryContext);
	if (cache_context != NULL)
		MemoryContextDelete(cache_context);
	cache_context = fresh;
	grants = list;
	valid = !missed;
	any[EB_PRIVILEGE_READ] |= any[EB_PRIVILEGE_SUBSCRIBE];
	memcpy(held, any, sizeof(held));
}

static void
load(void)
{
	if (!valid || cached_relid != eb_catalog()->privilege)
		reload();
}

/* True if nobody's grants of this privilege can restrict the current user. */
static bool
unrestricted(EbPrivilege privilege)
{
	load();
	return !held[privilege] || has_privs_of_role(GetUserId(), eb_catalog()->owner);
}

/* A grant gives a privilege if it is that, or includes it. */
static inline bool
gives(const EbGrant *grant, EbPrivilege privilege)
{
	return grant->privilege == privilege ||
		(privilege == EB_PRIVILEGE_READ && grant->privilege == EB_PRIVILEGE_SUBSCRIBE);
}

static bool
may_use_type(EbPrivilege privilege, const char *type, int len)
{
	Oid			user = GetUserId();
	ListCell   *lc;

	foreach(lc, grants)
	{
		EbGrant    *grant = lfirst(lc);

		if (gives(grant, privilege) && eb_topic_match_one(grant->pattern, type, len) &&
			has_privs_of_role(user, grant->grantee))
			return true;
	}
	return false;
}

/* See grant.h. */
void
eb_grant_check_emit(const char *type, int len)
{
	if (valid && len == emitter_len && emitter == GetUserId() &&
		memcmp(type, emitter_type, len) == 0)
		return;
	if (!unrestricted(EB_PRIVILEGE_EMIT) && !may_use_type(EB_PRIVILEGE_EMIT, type, len))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to emit events of type \"%.*s\"", len, type),
				 errhint("Ask for eb_grant('emit', '%.*s', '%s').", len, type,
						 GetUserNameFromId(GetUserId(), false))));
	emitter = GetUserId();
	emitter_len = len;
	memcpy(emitter_type, type, len);
}

void
eb_grant_check_read(const char *type, int len)
{
	if (!unrestricted(EB_PRIVILEGE_READ) && !may_use_type(EB_PRIVILEGE_READ, type, len))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read events of type \"%.*s\"", len, type),
				 errhint("Ask for eb_grant('read', '%.*s', '%s').", len, type,
						 GetUserNameFromId(GetUserId(), false))));
}

static bool
covered(EbPrivilege privilege, const char *pattern)
{
	ListCell   *lc;

	foreach(lc, grants)
	{
		EbGrant    *grant = lfirst(lc);

		if (gives(grant, privilege) && eb_topic_covers(grant->pattern, pattern) &&
			has_privs_of_role(GetUserId(), grant->grantee))
			return true;
	}
	return false;
}

/* See grant.h.  What a topic excludes only narrows the others. */
void
eb_grant_check_topics(EbPrivilege privilege, int n, const char *const *patterns)
{
	if (unrestricted(privilege))
		return;
	for (int i = 0; i < n; i++)
		if (patterns[i][0] != '!' && !covered(privilege, patterns[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to %s events of topic \"%s\"",
							privilege == EB_PRIVILEGE_SUBSCRIBE ? "subscribe to" : "read",
							patterns[i]),
					 errhint("Name topics that lie within what was granted, or ask for eb_grant('%s', '%s', '%s').",
							 names[privilege], patterns[i],
							 GetUserNameFromId(GetUserId(), false))));
}

/* See grant.h. */
bool
eb_grant_may_consume(Oid user, int32 subscription_id)
{
	ListCell   *lc;

	load();
	if (!held[EB_PRIVILEGE_CONSUME])
		return false;
	foreach(lc, grants)
	{
		EbGrant    *grant = lfirst(lc);

		if (grant->privilege == EB_PRIVILEGE_CONSUME &&
			grant->subscription_id == subscription_id &&
			has_privs_of_role(user, grant->grantee))
			return true;
	}
	return false;
}
