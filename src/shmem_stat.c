/*
 * shmem_stat.c
 *	  Copies of the shared state, for the statistics views.
 *
 * Numbers of different slots are read one after the other, not all at the same
 * moment.  Nothing here errors after a lock was taken: memory comes first.
 */
#include "postgres.h"

#include "storage/lwlock.h"

#include "compat.h"
#include "shmem.h"

#define RATE_WINDOW_S	10.0
#define RATE_SAMPLE_S	0.5		/* samples closer than this are not taken */

/* The bucket that a latency is counted in. */
int
eb_latency_bucket(int64 us)
{
	int			i = 0;

	while (i < EB_LATENCY_BUCKETS - 1 && us > (INT64CONST(1000) << i))
		i++;
	return i;
}

/* Adds what one call has measured. */
void
eb_latency_add(EbSubShared *sub, const EbLatency *latency)
{
	for (int i = 0; i < EB_LATENCY_BUCKETS; i++)
		if (latency->counts[i] > 0)
			pg_atomic_fetch_add_u64(&sub->latency[i], latency->counts[i]);
	if (latency->sum_us > 0)
		pg_atomic_fetch_add_u64(&sub->latency_sum_us, latency->sum_us);
}

/*
 * Brings the rates up to date, about once a second: exponential averages over the
 * last RATE_WINDOW_S seconds.
 */
void
eb_rate_sample(EbSubShared *sub, int32 id, TimestampTz now)
{
	int64		routed = (int64) pg_atomic_read_u64(&sub->routed);
	int64		acked = (int64) pg_atomic_read_u64(&sub->acked);
	double		weight;
	double		s;

	SpinLockAcquire(&sub->mutex);
	s = (now - sub->rated_at) / (double) USECS_PER_SEC;
	if (sub->id == id && s >= RATE_SAMPLE_S)
	{
		weight = Min(s / RATE_WINDOW_S, 1.0);
		sub->routed_rate += weight * ((routed - sub->rated_routed) / s - sub->routed_rate);
		sub->acked_rate += weight * ((acked - sub->rated_acked) / s - sub->acked_rate);
		sub->rated_at = now;
		sub->rated_routed = routed;
		sub->rated_acked = acked;
	}
	SpinLockRelease(&sub->mutex);
}

/* True if the launcher's last attempt to register a worker found no slot. */
bool
eb_shmem_stat_no_worker_slot(void)
{
	bool		exhausted;

	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	exhausted = eb_shmem->no_worker_slot;
	LWLockRelease(eb_shmem->directory);
	return exhausted;
}

static void
copy_db(EbDb *db, EbDbStat *stat)
{
	stat->dboid = db->dboid;
	SpinLockAcquire(&db->mutex);
	stat->sequenced = db->sequenced;
	stat->next_offset = db->next_offset;
	stat->safe_offset = eb_sequencer_safe_locked(db);
	SpinLockRelease(&db->mutex);
	stat->routed = (int64) pg_atomic_read_u64(&db->routed);
	stat->passes = (int64) pg_atomic_read_u64(&db->passes);
	stat->emitted = (int64) pg_atomic_read_u64(&db->emitted);
	stat->duplicates = (int64) pg_atomic_read_u64(&db->duplicates);
	stat->last_pass_at = (TimestampTz) pg_atomic_read_u64(&db->last_pass_at);
}

/* Every database that has a slot. */
EbDbStat *
eb_shmem_stat_dbs(int *n)
{
	EbDbStat   *stats = palloc0(eb_shmem->ndbs * sizeof(EbDbStat));

	*n = 0;
	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	for (int i = 0; i < eb_shmem->ndbs; i++)
		if (OidIsValid(eb_shmem->dbs[i].dboid))
			copy_db(&eb_shmem->dbs[i], &stats[(*n)++]);
	LWLockRelease(eb_shmem->directory);
	for (int i = 0; i < *n; i++)
		eb_shmem_relay_read(stats[i].dboid, &stats[i].relay);
	return stats;
}

/* The index of a database's slot, -1 if it has none; the directory is locked. */
static int
index_of(Oid dboid)
{
	for (int i = 0; i < eb_shmem->ndbs; i++)
		if (eb_shmem->dbs[i].dboid == dboid)
			return i;
	return -1;
}

static void
copy_more(EbSubShared *sub, EbSubStat *stat)
{
	stat->retried = (int64) pg_atomic_read_u64(&sub->retried);
	stat->dead = (int64) pg_atomic_read_u64(&sub->dead);
	stat->filter_errors = (int64) pg_atomic_read_u64(&sub->filter_errors);
	for (int i = 0; i < EB_LATENCY_BUCKETS; i++)
		stat->latency.counts[i] = (int64) pg_atomic_read_u64(&sub->latency[i]);
	stat->latency.sum_us = (int64) pg_atomic_read_u64(&sub->latency_sum_us);
	SpinLockAcquire(&sub->mutex);
	stat->routed_rate = sub->routed_rate;
	stat->acked_rate = sub->acked_rate;
	SpinLockRelease(&sub->mutex);
}

/* Every durable subscription of a database that has a slot. */
EbSubStat *
eb_shmem_stat_subs(Oid dboid, int *n)
{
	EbSubStat  *stats = palloc0(eb_shmem->nsubs * sizeof(EbSubStat));
	int			db;

	*n = 0;
	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	db = index_of(dboid);
	for (int i = 0; db >= 0 && i < eb_shmem->nsubs; i++)
	{
		EbSubShared *sub = &eb_shmem->subs[i];
		EbSubStat  *stat = &stats[*n];

		if (sub->db != db)
			continue;
		stat->id = sub->id;
		stat->waiters = (int32) pg_atomic_read_u32(&sub->waiters);
		stat->routed = (int64) pg_atomic_read_u64(&sub->routed);
		stat->fetched = (int64) pg_atomic_read_u64(&sub->fetched);
		stat->acked = (int64) pg_atomic_read_u64(&sub->acked);
		stat->nacked = (int64) pg_atomic_read_u64(&sub->nacked);
		stat->expired = (int64) pg_atomic_read_u64(&sub->expired);
		copy_more(sub, stat);
		(*n)++;
	}
	LWLockRelease(eb_shmem->directory);
	return stats;
}

/* The processes that sleep in eb_fetch, in a database. */
EbWaitStat *
eb_shmem_stat_waits(Oid dboid, int *n)
{
	EbWaitStat *stats = palloc0(eb_shmem->nbackends * sizeof(EbWaitStat));
	int			db;

	*n = 0;
	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	db = index_of(dboid);
	for (int i = 0; db >= 0 && i < eb_shmem->nbackends; i++)
	{
		uint32		slot = pg_atomic_read_u32(&eb_shmem->backends[i].waiting_for);

		if (slot == 0 || eb_shmem->subs[slot - 1].db != db)
			continue;
		stats[*n].pid = GetPGProcByNumber(i)->pid;
		stats[*n].subscription_id = eb_shmem->subs[slot - 1].id;
		(*n)++;
	}
	LWLockRelease(eb_shmem->directory);
	return stats;
}
