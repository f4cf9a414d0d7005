/*
 * store.c
 *	  Tables that take turns: their state, and giving back their space.
 *
 * The state is a word in shared memory that everybody reads and who holds the lock
 * of relay passes writes.  It is no part of any transaction: whatever it says must
 * be true of what is committed.
 *
 * Truncating gives the space back at once, whatever snapshots are still held, but
 * it does not respect them: a transaction whose snapshot is older than the last
 * deletions, and that reads the table only afterwards, finds it empty.  So an empty
 * table is kept until no such snapshot is left, or until the delay is over in which
 * a pg_dump gets from its snapshot to its locks.  Who has a lock is never waited for.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "store.h"

/* A table with three indexes, TOAST's too, that was just truncated is not larger. */
#define CLEAN_PAGES		8

/* The state as it is now, whatever was done to the tables before the call. */
uint32
eb_ring_state(EbRing *ring)
{
	pg_memory_barrier();
	return pg_atomic_read_u32(&ring->state);
}

static void
change(EbRing *ring, uint32 clear, uint32 set)
{
	uint32		state = pg_atomic_read_u32(&ring->state);

	state = ((state & ~clear) | set) + EB_RING_CHANGE;
	(void) pg_atomic_exchange_u32(&ring->state, state); /* a full barrier */
}

/* Makes a clean store current. */
void
eb_ring_switch(EbRing *ring, int store)
{
	int			old = eb_ring_current(pg_atomic_read_u32(&ring->state));

	ring->left_at[old] = GetCurrentTimestamp();
	ring->sealed[old] = false;
	change(ring, 3 | EB_RING_EMPTY(store) | EB_RING_CLEAN(store), store);
}

/* No row of the store is alive for those who take their snapshot from now on. */
void
eb_ring_note_empty(EbRing *ring, int store)
{
	ring->emptied_at[store] = GetCurrentTimestamp();
	ring->emptied_xid[store] = ReadNextTransactionId();
	change(ring, 0, EB_RING_EMPTY(store));
}

/* The store has not a single page. */
void
eb_ring_note_clean(EbRing *ring, int store)
{
	change(ring, 0, EB_RING_EMPTY(store) | EB_RING_CLEAN(store));
}

/* Somebody else has put rows there: look again. */
void
eb_ring_forget(EbRing *ring, int store)
{
	change(ring, EB_RING_EMPTY(store) | EB_RING_CLEAN(store), 0);
}

/* Whether this transaction may have changed the table: then it knows too much. */
bool
eb_store_mine(Oid table)
{
	Relation	rel = table_open(table, AccessShareLock);
	bool		mine = CheckRelationLockedByMe(rel, RowExclusiveLock, true);

	table_close(rel, AccessShareLock);
	return mine;
}

/*
 * True if there is, or just was, a moment at which nobody was at work on the table:
 * who comes later has seen that it is not current any more.
 */
bool
eb_store_seal(Oid table)
{
	if (!ConditionalLockRelationOid(table, ShareLock))
		return false;
	UnlockRelationOid(table, ShareLock);
	return true;
}

/* Bytes on disk, with indexes. */
int64
eb_store_size(Oid table)
{
	return DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(table)));
}

/* Whether it has a page, and so may have a row. */
bool
eb_store_has_rows(Oid table)
{
	Relation	rel = table_open(table, AccessShareLock);
	bool		has_rows = (RelationGetNumberOfBlocks(rel) > 0);

	table_close(rel, AccessShareLock);
	return has_rows;
}

/* Whether it has no page, nor indexes with more than the first ones (vacuum keeps those). */
bool
eb_store_is_clean(Oid table)
{
	return !eb_store_has_rows(table) && eb_store_size(table) <= CLEAN_PAGES * BLCKSZ;
}

/* Whether truncating an empty store would mislead nobody any more. */
bool
eb_store_may_truncate(const EbRing *ring, int store, Oid table)
{
	Relation	rel;
	TransactionId horizon;

	if (TimestampDifferenceExceeds(ring->emptied_at[store], GetCurrentTimestamp(),
								   eb_queue_truncate_delay))
		return true;
	rel = table_open(table, AccessShareLock);
	horizon = GetOldestNonRemovableTransactionId(rel);
	table_close(rel, AccessShareLock);
	return TransactionIdPrecedesOrEquals(ring->emptied_xid[store], horizon);
}

/* Locks all that TRUNCATE locks, or returns false at once. */
static bool
lock_all(Oid table)
{
	Relation	rel;
	Relation	toast;
	List	   *indexes;
	ListCell   *lc;
	bool		locked = true;

	if (!ConditionalLockRelationOid(table, AccessExclusiveLock))
		return false;
	rel = table_open(table, NoLock);
	indexes = list_copy(RelationGetIndexList(rel));
	if (OidIsValid(rel->rd_rel->reltoastrelid))
	{
		locked = ConditionalLockRelationOid(rel->rd_rel->reltoastrelid, AccessExclusiveLock);
		if (locked)
		{
			toast = table_open(rel->rd_rel->reltoastrelid, NoLock);
			indexes = list_concat(indexes, RelationGetIndexList(toast));
			table_close(toast, NoLock);
		}
	}
	table_close(rel, NoLock);
	foreach(lc, indexes)
		locked = locked && ConditionalLockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
	return locked;
}

/*
 * Truncates the table if nobody has a lock on it and it is unused.  False only if it
 * is in use after all; whether it was truncated is seen by its size once the
 * transaction is over.
 */
bool
eb_store_truncate(Oid table, bool (*unused) (Relation rel))
{
	EbOwnerScope scope;
	Relation	rel;
	bool		ok;

	if (!lock_all(table))
		return true;
	rel = table_open(table, NoLock);
	ok = unused(rel);
	table_close(rel, NoLock);
	if (!ok)
		return false;
	eb_owner_begin(&scope);
	SPI_connect();
	if (SPI_execute(psprintf("TRUNCATE ONLY " EB_SCHEMA ".%s", get_rel_name(table)), false, 0) < 0)
		elog(ERROR, "could not truncate a store");
	SPI_finish();
	eb_owner_end(&scope);
	return true;
}
