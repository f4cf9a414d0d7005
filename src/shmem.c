/*
 * shmem.c
 *	  Layout of shared memory, and the directory of its slots.
 *
 * A database's slot is found by database and extension oid, so that dropping
 * and creating the extension again starts from nothing.  A slot is freed when
 * the launcher finds the database gone.  The lock protocol is in shmem.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "guc.h"
#include "shmem.h"

#define EB_TRANCHE "eventbus"

EbShmem    *eb_shmem = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* This backend's database slot, with the extension it was looked up for. */
static EbDb *my_db = NULL;
static Oid	my_extoid = InvalidOid;

static Size
shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(EbShmem));

	size = add_size(size, MAXALIGN(mul_size(eb_max_databases, sizeof(EbDb))));
	size = add_size(size, MAXALIGN(mul_size(eb_max_subscriptions, sizeof(EbSubShared))));
	size = add_size(size, MAXALIGN(mul_size(MaxBackends, sizeof(EbBackend))));
	return size;
}

static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shmem_size());
	RequestNamedLWLockTranche(EB_TRANCHE, 1);
}

static void
reset_ring(EbRing *ring)
{
	pg_atomic_write_u32(&ring->state, 0);
	for (int i = 0; i < EB_STORES; i++)
	{
		ring->sealed[i] = false;
		ring->left_at[i] = 0;
		ring->emptied_at[i] = 0;
		ring->emptied_xid[i] = InvalidTransactionId;
	}
}

/* Makes a database slot empty; directory lock held, or nobody else here yet. */
static void
reset_db(EbDb *db)
{
	db->dboid = InvalidOid;
	db->extoid = InvalidOid;
	db->sequenced = false;
	db->next_offset = 0;
	db->first_offset = 0;
	db->kept_offset = 0;
	db->inflight_head = -1;
	db->inflight_tail = -1;
	db->commit_lsn = InvalidXLogRecPtr;
	db->relay_state = EB_RELAY_UNKNOWN;
	db->relay_pid = 0;
	db->relay_procno = -1;
	db->relay_started_at = 0;
	db->relay_restart_at = 0;
	db->relay_failures = 0;
	db->relay_wanted = false;
	db->holders = 0;
	db->relay_error[0] = '\0';
	pg_atomic_write_u32(&db->relay_sleeping, 0);
	pg_atomic_write_u64(&db->routed, 0);
	pg_atomic_write_u64(&db->told_end, 0);
	pg_atomic_write_u64(&db->passes, 0);
	pg_atomic_write_u64(&db->last_pass_at, 0);
	pg_atomic_write_u64(&db->emitted, 0);
	pg_atomic_write_u64(&db->duplicates, 0);
	reset_ring(&db->queue);
	reset_ring(&db->progress);
}

/* Gives a subscription slot to (db, id), everything unknown; db -1 frees it. */
static void
reset_sub(EbSubShared *sub, int db, int32 id)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&sub->mutex);
	sub->db = db;
	sub->id = id;
	sub->next_due = 0;
	sub->rated_at = now;
	sub->rated_routed = sub->rated_acked = 0;
	sub->routed_rate = sub->acked_rate = 0;
	for (int i = 0; i < EB_LANE_COUNT; i++)
	{
		sub->lanes[i].head = PG_INT64_MIN;
		sub->lanes[i].avail = PG_INT64_MIN;
		sub->lanes[i].turns = sub->lanes[i].rest = 0;
		eb_lane_forget(&sub->lanes[i]);
	}
	SpinLockRelease(&sub->mutex);
	pg_atomic_write_u32(&sub->claims, 0);
	pg_atomic_write_u64(&sub->routed, 0);
	pg_atomic_write_u64(&sub->fetched, 0);
	pg_atomic_write_u64(&sub->acked, 0);
	pg_atomic_write_u64(&sub->nacked, 0);
	pg_atomic_write_u64(&sub->expired, 0);
	pg_atomic_write_u64(&sub->retried, 0);
	pg_atomic_write_u64(&sub->dead, 0);
	pg_atomic_write_u64(&sub->filter_errors, 0);
	for (int i = 0; i < EB_LATENCY_BUCKETS; i++)
		pg_atomic_write_u64(&sub->latency[i], 0);
	pg_atomic_write_u64(&sub->latency_sum_us, 0);
}

static void
init_slots(void)
{
	for (int i = 0; i < eb_shmem->ndbs; i++)
	{
		EbDb	   *db = &eb_shmem->dbs[i];

		SpinLockInit(&db->mutex);
		pg_atomic_init_u32(&db->relay_requests, 0);
		pg_atomic_init_u32(&db->awaiters, 0);
		pg_atomic_init_u32(&db->relay_sleeping, 0);
		pg_atomic_init_u64(&db->routed, 0);
		pg_atomic_init_u64(&db->told_end, 0);
		pg_atomic_init_u64(&db->passes, 0);
		pg_atomic_init_u64(&db->last_pass_at, 0);
		pg_atomic_init_u64(&db->emitted, 0);
		pg_atomic_init_u64(&db->duplicates, 0);
		pg_atomic_init_u32(&db->queue.state, 0);
		pg_atomic_init_u32(&db->progress.state, 0);
		reset_db(db);
	}
	for (int i = 0; i < eb_shmem->nsubs; i++)
	{
		EbSubShared *sub = &eb_shmem->subs[i];

		SpinLockInit(&sub->mutex);
		pg_atomic_init_u32(&sub->waiters, 0);
		pg_atomic_init_u32(&sub->claims, 0);
		pg_atomic_init_u64(&sub->routed, 0);
		pg_atomic_init_u64(&sub->fetched, 0);
		pg_atomic_init_u64(&sub->acked, 0);
		pg_atomic_init_u64(&sub->nacked, 0);
		pg_atomic_init_u64(&sub->expired, 0);
		pg_atomic_init_u64(&sub->retried, 0);
		pg_atomic_init_u64(&sub->dead, 0);
		pg_atomic_init_u64(&sub->filter_errors, 0);
		for (int k = 0; k < EB_LATENCY_BUCKETS; k++)
			pg_atomic_init_u64(&sub->latency[k], 0);
		pg_atomic_init_u64(&sub->latency_sum_us, 0);
		reset_sub(sub, -1, 0);
	}
	for (int i = 0; i < eb_shmem->nbackends; i++)
	{
		EbBackend  *backend = &eb_shmem->backends[i];

		backend->db = -1;
		backend->prev = -1;
		backend->next = -1;
		pg_atomic_init_u32(&backend->waiting_for, 0);
		pg_atomic_init_u32(&backend->awaiting, 0);
	}
}

static void
shmem_startup(void)
{
	bool		found;
	char	   *base;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	base = ShmemInitStruct(EB_TRANCHE, shmem_size(), &found);
	eb_shmem = (EbShmem *) base;
	if (!found)
	{
		memset(base, 0, shmem_size());
		eb_shmem->directory = &GetNamedLWLockTranche(EB_TRANCHE)->lock;
		eb_shmem->ndbs = eb_max_databases;
		eb_shmem->nsubs = eb_max_subscriptions;
		eb_shmem->nbackends = MaxBackends;
		eb_shmem->launcher_procno = -1;
		base += MAXALIGN(sizeof(EbShmem));
		eb_shmem->dbs = (EbDb *) base;
		base += MAXALIGN(eb_shmem->ndbs * sizeof(EbDb));
		eb_shmem->subs = (EbSubShared *) base;
		base += MAXALIGN(eb_shmem->nsubs * sizeof(EbSubShared));
		eb_shmem->backends = (EbBackend *) base;
		init_slots();
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Registers the hooks; from _PG_init under shared_preload_libraries only. */
void
eb_shmem_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

/* Errors with 55000 unless the library was preloaded. */
void
eb_shmem_require(void)
{
	if (eb_shmem == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("eventbus is not loaded at server start"),
				 errhint("Add eventbus to shared_preload_libraries and restart the server.")));
}

/* Frees the subscriptions of a database slot; directory lock held. */
static void
free_subs(int dbindex)
{
	for (int i = 0; i < eb_shmem->nsubs; i++)
		if (eb_shmem->subs[i].db == dbindex)
			reset_sub(&eb_shmem->subs[i], -1, 0);
}

static EbDb *
find_db_locked(Oid dboid)
{
	for (int i = 0; i < eb_shmem->ndbs; i++)
		if (eb_shmem->dbs[i].dboid == dboid)
			return &eb_shmem->dbs[i];
	return NULL;
}

/*
 * The slot of a database, or NULL: when there is none and create is false, or
 * when all are taken.
 */
EbDb *
eb_shmem_db_find(Oid dboid, bool create)
{
	EbDb	   *db;

	LWLockAcquire(eb_shmem->directory, create ? LW_EXCLUSIVE : LW_SHARED);
	db = find_db_locked(dboid);
	if (db == NULL && create && (db = find_db_locked(InvalidOid)) != NULL)
	{
		reset_db(db);
		db->dboid = dboid;
	}
	LWLockRelease(eb_shmem->directory);
	return db;
}

/* Gives a dropped database's slot back, if it has one. */
void
eb_shmem_db_free(Oid dboid)
{
	EbDb	   *db;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	db = find_db_locked(dboid);
	if (db != NULL)
	{
		free_subs(db - eb_shmem->dbs);
		reset_db(db);
	}
	LWLockRelease(eb_shmem->directory);
}

/*
 * This database's slot, made if need be and emptied if it belonged to an
 * earlier CREATE EXTENSION.  Errors: 55000 not preloaded, 53400 no slot free.
 */
EbDb *
eb_shmem_db(void)
{
	Oid			extoid;
	EbDb	   *db;

	eb_shmem_require();
	extoid = eb_catalog()->extension;
	if (my_db != NULL && my_extoid == extoid)
		return my_db;

	my_db = NULL;
	db = eb_shmem_db_find(MyDatabaseId, true);
	if (db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use eventbus"),
				 errhint("Raise eventbus.max_databases (now %d) and restart the server.",
						 eb_max_databases)));

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	if (db->extoid != extoid)
	{
		free_subs(db - eb_shmem->dbs);
		SpinLockAcquire(&db->mutex);
		db->sequenced = false;
		SpinLockRelease(&db->mutex);
		pg_atomic_write_u64(&db->routed, 0);
		pg_atomic_write_u64(&db->told_end, 0);
		reset_ring(&db->queue);
		reset_ring(&db->progress);
		db->extoid = extoid;
	}
	LWLockRelease(eb_shmem->directory);
	my_extoid = extoid;
	my_db = db;
	return db;
}

/*
 * The slot of a durable subscription of this database, made if need be.
 * Errors with 53400 when all are taken.
 */
EbSubShared *
eb_shmem_sub(EbDb *db, int32 id)
{
	int			dbindex = db - eb_shmem->dbs;
	EbSubShared *found = NULL;
	EbSubShared *unused = NULL;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	for (int i = 0; i < eb_shmem->nsubs && found == NULL; i++)
	{
		EbSubShared *sub = &eb_shmem->subs[i];

		if (sub->db == dbindex && sub->id == id)
			found = sub;
		else if (sub->db < 0 && unused == NULL)
			unused = sub;
	}
	if (found == NULL && unused != NULL)
	{
		reset_sub(unused, dbindex, id);
		found = unused;
	}
	LWLockRelease(eb_shmem->directory);

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many subscriptions in this cluster"),
				 errhint("Raise eventbus.max_subscriptions (now %d) and restart the server.",
						 eb_max_subscriptions)));
	return found;
}

/* Frees the slots of this database's subscriptions that are not among ids. */
void
eb_shmem_subs_retain(EbDb *db, const int32 *ids, int n)
{
	int			dbindex = db - eb_shmem->dbs;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	for (int i = 0; i < eb_shmem->nsubs; i++)
	{
		EbSubShared *sub = &eb_shmem->subs[i];
		bool		keep = false;

		if (sub->db != dbindex)
			continue;
		for (int k = 0; k < n && !keep; k++)
			keep = (ids[k] == sub->id);
		if (!keep)
			reset_sub(sub, -1, 0);
	}
	LWLockRelease(eb_shmem->directory);
}
