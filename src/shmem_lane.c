/*
 * shmem_lane.c
 *	  Head hints of the lanes, and who sleeps until something is there.
 *
 * A hint is a position below which a scan need not look: head, because every
 * row is dead; avail, because every row is dead, leased or locked.  Without
 * them a scan walks all dead rows that a held xmin horizon keeps (decision 3).
 *
 * Hints may only err downwards.  Who makes a row takeable (insert, retry,
 * release, rollback) changes the table first and lowers the hint second, which
 * counts the lane's generation up.  Who scans reads the hints and the generation
 * first, and its advance ends at the lowest position that was lowered to since: it
 * may have passed the place before the row was there.  What is remembered of that
 * goes back some dozens of changes; a scan that is older is dropped.
 *
 * Claims begin at avail, so they do not see what died between it and head.  Every
 * so often one begins at head and raises that: otherwise the first that has to, when
 * a lease may be over, would walk over all that has died meanwhile.
 *
 * Every call names the subscription's id: a slot that was given to another
 * subscription meanwhile is left alone.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "compat.h"
#include "shmem.h"

/* Changes of a lane that are remembered at least, of those that lower it. */
#define REMEMBERED	64

/* Copies a lane's hints; "nothing known" if the slot is not id's any more. */
void
eb_lane_read(EbSubShared *sub, int32 id, int lane, EbLane *copy)
{
	SpinLockAcquire(&sub->mutex);
	*copy = sub->lanes[lane];
	if (sub->id != id)
		copy->head = copy->avail = PG_INT64_MIN;
	SpinLockRelease(&sub->mutex);
}

/* The same for a claim that does not care for order: avail is head when it is time. */
void
eb_lane_begin(EbSubShared *sub, int32 id, int lane, EbLane *copy)
{
	EbLane	   *l = &sub->lanes[lane];

	SpinLockAcquire(&sub->mutex);
	*copy = *l;
	if (sub->id != id)
		copy->head = copy->avail = PG_INT64_MIN;
	else if (l->avail != EB_LANE_EMPTY && ++l->turns > l->rest)
	{
		l->turns = 0;
		copy->avail = l->head;
	}
	SpinLockRelease(&sub->mutex);
}

/* So many claims are to pass before one begins at head again. */
void
eb_lane_rest(EbSubShared *sub, int32 id, int lane, uint32 claims)
{
	SpinLockAcquire(&sub->mutex);
	if (sub->id == id)
		sub->lanes[lane].rest = claims;
	SpinLockRelease(&sub->mutex);
}

/* A change after which no scan that has begun may advance; mutex held. */
void
eb_lane_forget(EbLane *l)
{
	l->generation++;
	l->since[0] = l->since[1] = l->generation;
	l->lowest[0] = l->lowest[1] = EB_LANE_EMPTY;
}

/* Notes a position that was lowered to; mutex held. */
static void
remember(EbLane *l, int64 position)
{
	if (l->generation - l->since[0] >= REMEMBERED)
	{
		l->since[1] = l->since[0];
		l->lowest[1] = l->lowest[0];
		l->since[0] = l->generation;
		l->lowest[0] = EB_LANE_EMPTY;
	}
	l->generation++;
	l->lowest[0] = Min(l->lowest[0], position);
}

/* The position that a scan which began at that generation may advance to; mutex held. */
static int64
lowest_since(const EbLane *l, uint32 generation)
{
	if (generation == l->generation)
		return EB_LANE_EMPTY;
	if ((int32) (generation - l->since[0]) >= 0)
		return l->lowest[0];
	if ((int32) (generation - l->since[1]) >= 0)
		return Min(l->lowest[0], l->lowest[1]);
	return PG_INT64_MIN;
}

/* Raises the hints to what a scan that began at "seen" found, see above. */
void
eb_lane_advance(EbSubShared *sub, int32 id, int lane,
				const EbLane *seen, int64 head, int64 avail)
{
	EbLane	   *l = &sub->lanes[lane];

	Assert(head <= avail);
	SpinLockAcquire(&sub->mutex);
	if (sub->id == id)
	{
		int64		limit = lowest_since(l, seen->generation);

		l->head = Max(l->head, Min(head, limit));
		l->avail = Max(l->avail, Min(avail, limit));
	}
	SpinLockRelease(&sub->mutex);
}

/* A row at position became, or may become, takeable; returns the new generation. */
uint32
eb_lane_lower(EbSubShared *sub, int32 id, int lane, int64 position)
{
	EbLane	   *l = &sub->lanes[lane];
	uint32		generation;

	SpinLockAcquire(&sub->mutex);
	if (sub->id == id)
	{
		if (position < l->head)
			l->head = position;
		if (position < l->avail)
			l->avail = position;
		remember(l, position);
	}
	generation = l->generation;
	SpinLockRelease(&sub->mutex);
	return generation;
}

/* A lease ends, or an ordered retry is due, at that time. */
void
eb_lane_due(EbSubShared *sub, int32 id, TimestampTz due)
{
	SpinLockAcquire(&sub->mutex);
	if (sub->id == id && due < sub->next_due)
		sub->next_due = due;
	SpinLockRelease(&sub->mutex);
}

/*
 * If something below avail may be due now, lowers every avail to head, so that
 * the scan that follows finds it and notes the next due time anew.
 */
TimestampTz
eb_lane_take_due(EbSubShared *sub, int32 id, TimestampTz now)
{
	TimestampTz due;

	SpinLockAcquire(&sub->mutex);
	due = sub->next_due;
	if (sub->id == id && due <= now)
	{
		sub->next_due = DT_NOEND;
		for (int i = 0; i < EB_LANE_COUNT; i++)
		{
			sub->lanes[i].avail = sub->lanes[i].head;
			eb_lane_forget(&sub->lanes[i]);
		}
	}
	SpinLockRelease(&sub->mutex);
	return due;
}

/* The earliest time at which a sleeping consumer must look again. */
TimestampTz
eb_lane_next_due(EbSubShared *sub, int32 id)
{
	TimestampTz due;

	SpinLockAcquire(&sub->mutex);
	due = sub->next_due;
	if (sub->id == id)
	{
		due = Min(due, sub->lanes[EB_LANE_DELAYED].avail);
		due = Min(due, sub->lanes[EB_LANE_RETRY].avail);
	}
	SpinLockRelease(&sub->mutex);
	return due;
}

/*
 * The lane whose first available row is the oldest.  What is due later does not
 * compete: its positions are times.
 */
int
eb_lane_oldest(EbSubShared *sub, int32 id)
{
	int			oldest = 0;

	SpinLockAcquire(&sub->mutex);
	for (int i = 1; i < EB_LANE_COUNT && sub->id == id; i++)
		if (!eb_lane_timed(i) && sub->lanes[i].avail < sub->lanes[oldest].avail)
			oldest = i;
	SpinLockRelease(&sub->mutex);
	return oldest;
}

/* Forgets everything that is known of a subscription's lanes. */
void
eb_lane_rewind(EbSubShared *sub, int32 id)
{
	SpinLockAcquire(&sub->mutex);
	if (sub->id == id)
	{
		sub->next_due = 0;
		for (int i = 0; i < EB_LANE_COUNT; i++)
		{
			sub->lanes[i].head = PG_INT64_MIN;
			sub->lanes[i].avail = PG_INT64_MIN;
			eb_lane_forget(&sub->lanes[i]);
		}
	}
	SpinLockRelease(&sub->mutex);
}

/*
 * This process will sleep until sub has something.  True if it was not a waiter
 * before: then it must look once more, since what came earlier woke nobody.
 */
bool
eb_wait_begin(EbSubShared *sub)
{
	EbBackend  *me = &eb_shmem->backends[MyProcNumber];
	uint32		slot = (uint32) (sub - eb_shmem->subs) + 1;

	if (pg_atomic_read_u32(&me->waiting_for) == slot)
		return false;
	(void) eb_wait_end();
	pg_atomic_write_u32(&me->waiting_for, slot);
	pg_atomic_fetch_add_u32(&sub->waiters, 1);
	pg_memory_barrier();
	return true;
}

/*
 * Ends the wait, if there is one, and returns what was waited for, or NULL.  Safe
 * in an exit or abort callback.
 */
EbSubShared *
eb_wait_end(void)
{
	EbBackend  *me;
	uint32		slot;

	if (eb_shmem == NULL || MyProc == NULL)
		return NULL;
	me = &eb_shmem->backends[MyProcNumber];
	if (pg_atomic_read_u32(&me->waiting_for) == 0)
		return NULL;
	slot = pg_atomic_exchange_u32(&me->waiting_for, 0);
	pg_atomic_fetch_sub_u32(&eb_shmem->subs[slot - 1].waiters, 1);
	return &eb_shmem->subs[slot - 1];
}

/* Sets the latch of up to n processes that wait for sub. */
void
eb_wake_consumers(EbSubShared *sub, int n)
{
	static int	turn = 0;		/* start elsewhere each time, for fairness */
	uint32		slot = (uint32) (sub - eb_shmem->subs) + 1;

	pg_memory_barrier();		/* our change first, then the look at waiters */
	if (pg_atomic_read_u32(&sub->waiters) == 0)
		return;
	for (int i = 0; i < eb_shmem->nbackends && n > 0; i++)
	{
		int			procno = (turn + i) % eb_shmem->nbackends;

		if (pg_atomic_read_u32(&eb_shmem->backends[procno].waiting_for) == slot)
		{
			SetLatch(&GetPGProcByNumber(procno)->procLatch);
			turn = procno + 1;
			n--;
		}
	}
}

/*
 * Something is committed.  Costs an atomic read while the relay is awake; where
 * none is, the launcher hears of it.
 */
void
eb_wake_relay(EbDb *db)
{
	int			procno;

	pg_memory_barrier();
	if (pg_atomic_read_u32(&db->relay_sleeping) == 0)
	{
		if (db->relay_state != EB_RELAY_RUNNING)
		{
			eb_want_relay();
			eb_wake_committed(db);
		}
		return;
	}
	if (pg_atomic_exchange_u32(&db->relay_sleeping, 0) == 0)
		return;
	procno = db->relay_procno;	/* stale at worst: a spurious wake-up */
	if (procno >= 0)
		SetLatch(&GetPGProcByNumber(procno)->procLatch);
}

/* Something changed that the launcher should look at. */
void
eb_wake_launcher(void)
{
	int			procno;

	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	procno = eb_shmem->launcher_procno;
	LWLockRelease(eb_shmem->directory);
	if (procno >= 0)
		SetLatch(&GetPGProcByNumber(procno)->procLatch);
}
