/*
 * shmem_sequencer.c
 *	  Offsets: reserved at commit, and the safe offset that readers may pass.
 *
 * The promise: offsets are unique and rise strictly; a reader that has passed
 * offset n never later finds a new event at or below n; if B's transaction could
 * see A's commit before B began to commit, A's offset is the lower.
 *
 * How it is kept.  Reserving and publishing the run's first offset happen under
 * one spinlock, so nobody can read a safe offset in between.  A process leaves
 * the in-flight list only after its transaction left the proc array, so whoever
 * reads the safe offset first and takes a snapshot second sees every event at
 * or below it.  The list is in the order of offsets because runs are appended
 * while the counter is held; its head is therefore the lowest.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "compat.h"
#include "fault.h"
#include "shmem.h"

static bool exit_registered = false;

/* A process that dies between reserve and release must not hold others back. */
static void
release_at_exit(int code, Datum arg)
{
	eb_sequencer_release(false);
}

/* True once next_offset is known to be above everything on disk. */
bool
eb_sequencer_ready(EbDb *db)
{
	bool		ready;

	SpinLockAcquire(&db->mutex);
	ready = db->sequenced;
	SpinLockRelease(&db->mutex);
	return ready;
}

/*
 * Sets the counter after a restart.  Several processes may read the disk at once
 * and come here; the first wins, and since nobody can reserve before, the others
 * found the same.
 */
void
eb_sequencer_start(EbDb *db, int64 next_offset)
{
	SpinLockAcquire(&db->mutex);
	if (!db->sequenced)
	{
		db->next_offset = next_offset;
		db->first_offset = next_offset;
		db->kept_offset = next_offset - 1;
		db->sequenced = true;
	}
	SpinLockRelease(&db->mutex);
}

/*
 * Reserves n offsets and returns the first, which stays in flight until
 * eb_sequencer_release.  At most once a transaction.
 */
int64
eb_sequencer_reserve(EbDb *db, int64 n)
{
	EbBackend  *me = &eb_shmem->backends[MyProcNumber];
	int64		first;

	Assert(n > 0 && me->db < 0);
	Assert(MyProcNumber < eb_shmem->nbackends);
	if (!exit_registered)
	{
		before_shmem_exit(release_at_exit, (Datum) 0);
		exit_registered = true;
	}

	SpinLockAcquire(&db->mutex);
	Assert(db->sequenced);
	first = db->next_offset;
	db->next_offset += n;
	me->first_offset = first;
	me->last_offset = first + n - 1;
	me->next = -1;
	me->prev = db->inflight_tail;
	if (me->prev >= 0)
		eb_shmem->backends[me->prev].next = MyProcNumber;
	else
		db->inflight_head = MyProcNumber;
	db->inflight_tail = MyProcNumber;
	me->db = db - eb_shmem->dbs;
	SpinLockRelease(&db->mutex);
	return first;
}

/*
 * Ends what eb_sequencer_reserve began, if it did; after commit or abort.  Notes
 * how far the log must be flushed to keep the commit (after an abort that is an
 * earlier commit of ours, which does no harm).
 */
void
eb_sequencer_release(bool committed)
{
	EbBackend  *me = &eb_shmem->backends[MyProcNumber];
	XLogRecPtr	lsn = XactLastCommitEnd;
	EbDb	   *db;

	if (me->db < 0)
		return;
	db = &eb_shmem->dbs[me->db];

	SpinLockAcquire(&db->mutex);
	if (me->prev >= 0)
		eb_shmem->backends[me->prev].next = me->next;
	else
		db->inflight_head = me->next;
	if (me->next >= 0)
		eb_shmem->backends[me->next].prev = me->prev;
	else
		db->inflight_tail = me->prev;
	me->db = -1;
	if (committed && me->last_offset > db->kept_offset)
		db->kept_offset = me->last_offset;
	if (lsn > db->commit_lsn)
		db->commit_lsn = lsn;
	SpinLockRelease(&db->mutex);
}

/* What eb_sequencer_safe returns; under the mutex. */
int64
eb_sequencer_safe_locked(const EbDb *db)
{
	int64		safe = db->next_offset - 1;

	if (db->inflight_head >= 0)
		safe = eb_shmem->backends[db->inflight_head].first_offset - 1;
	return EB_FAULT("given_up_passed") ? safe : Min(safe, db->kept_offset);
}

/*
 * The highest offset below which nothing can still appear; 0 if none.  What is
 * at or below it is flushed: with synchronous_commit = off a crash could
 * otherwise take back an event that a reader has seen, and give its offset away.
 * Nor is it above all that was committed: offsets that were reserved last and
 * given up leave nothing on disk, and a crash gives those away, too.
 */
int64
eb_sequencer_safe(EbDb *db)
{
	int64		safe;
	XLogRecPtr	lsn;

	SpinLockAcquire(&db->mutex);
	Assert(db->sequenced);
	safe = eb_sequencer_safe_locked(db);
	lsn = db->commit_lsn;
	SpinLockRelease(&db->mutex);
	if (lsn != InvalidXLogRecPtr && !EB_FAULT("safe_unflushed"))
		XLogFlush(lsn);
	return safe;
}

/* The offset that the next reservation will get. */
int64
eb_sequencer_next(EbDb *db)
{
	int64		next;

	SpinLockAcquire(&db->mutex);
	next = db->next_offset;
	SpinLockRelease(&db->mutex);
	return next;
}

/* The first offset since the server, or this epoch, began. */
int64
eb_sequencer_first(EbDb *db)
{
	int64		first;

	SpinLockAcquire(&db->mutex);
	first = db->first_offset;
	SpinLockRelease(&db->mutex);
	return first;
}
