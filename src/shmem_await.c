/*
 * shmem_await.c
 *	  Who sleeps until something is settled, or until the log has grown.
 *
 * eb_await waits for an event to be settled in one subscription or in all of them;
 * a session with an ephemeral subscription waits for the log.  Both register
 * before they look, and whoever changes something changes it first and looks at
 * the count of sleepers second, so that no wake-up is lost.  While nobody sleeps,
 * that look is all it costs.
 */
#include "postgres.h"

#include "storage/latch.h"
#include "storage/proc.h"

#include "compat.h"
#include "shmem.h"

/* EbBackend.awaiting: 0, a subscription's slot + 1, or one of these. */
static inline uint32
code_settled(EbDb *db)
{
	return eb_shmem->nsubs + 1 + (db - eb_shmem->dbs);
}

static inline uint32
code_log(EbDb *db)
{
	return eb_shmem->nsubs + 1 + eb_shmem->ndbs + (db - eb_shmem->dbs);
}

/*
 * This process will sleep until something of sub is settled (sub NULL: of any in
 * db, or a pass of the relay ended).  True if it has not been registered so
 * before: then it must look once more.
 */
static bool
begin(EbDb *db, uint32 code)
{
	EbBackend  *me = &eb_shmem->backends[MyProcNumber];

	if (pg_atomic_read_u32(&me->awaiting) == code)
		return false;
	eb_await_end();
	me->awaited_db = db - eb_shmem->dbs;
	pg_atomic_write_u32(&me->awaiting, code);
	pg_atomic_fetch_add_u32(&db->awaiters, 1);
	pg_memory_barrier();
	return true;
}

bool
eb_await_begin(EbDb *db, EbSubShared *sub)
{
	return begin(db, sub ? (uint32) (sub - eb_shmem->subs) + 1 : code_settled(db));
}

/* Likewise, until the log has grown. */
bool
eb_await_log_begin(EbDb *db)
{
	return begin(db, code_log(db));
}

/* Ends either, if there is one.  Safe in an exit or abort callback. */
void
eb_await_end(void)
{
	EbBackend  *me;

	if (eb_shmem == NULL || MyProc == NULL)
		return;
	me = &eb_shmem->backends[MyProcNumber];
	if (pg_atomic_read_u32(&me->awaiting) == 0)
		return;
	pg_atomic_write_u32(&me->awaiting, 0);
	pg_atomic_fetch_sub_u32(&eb_shmem->dbs[me->awaited_db].awaiters, 1);
}

/* Sets the latch of all that registered with one of two codes. */
static void
wake(EbDb *db, uint32 code, uint32 other)
{
	pg_memory_barrier();		/* our change first, then the look at sleepers */
	if (pg_atomic_read_u32(&db->awaiters) == 0)
		return;
	for (int i = 0; i < eb_shmem->nbackends; i++)
	{
		uint32		awaiting = pg_atomic_read_u32(&eb_shmem->backends[i].awaiting);

		if (awaiting != 0 && (awaiting == code || awaiting == other))
			SetLatch(&GetPGProcByNumber(i)->procLatch);
	}
}

/* Something of sub was settled. */
void
eb_wake_settled(EbSubShared *sub)
{
	int			db = sub->db;

	if (db >= 0)				/* else dropped meanwhile: who waits looks again */
		wake(&eb_shmem->dbs[db], (uint32) (sub - eb_shmem->subs) + 1,
			 code_settled(&eb_shmem->dbs[db]));
}

/* Much was settled in this database slot: whoever waits, for whatever, looks. */
void
eb_wake_awaiters(int db)
{
	for (int i = 0; db >= 0 && i < eb_shmem->nbackends; i++)
	{
		EbBackend  *backend = &eb_shmem->backends[i];

		if (pg_atomic_read_u32(&backend->awaiting) != 0 && backend->awaited_db == db)
			SetLatch(&GetPGProcByNumber(i)->procLatch);
	}
}

/* The log was routed further. */
void
eb_wake_routed(EbDb *db)
{
	wake(db, code_settled(db), code_log(db));
}

/* Something was committed while no relay runs, whose pass would tell of it. */
void
eb_wake_committed(EbDb *db)
{
	wake(db, code_log(db), code_log(db));
}
