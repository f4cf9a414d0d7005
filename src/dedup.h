/*
 * dedup.h
 *	  Ids that callers gave: each is accepted once (decision 4).
 */
#ifndef EB_DEDUP_H
#define EB_DEDUP_H

#include "utils/uuid.h"

/* The tables of ids, each partitioned by the ids' own time. */
typedef enum EbDedupTable
{
	EB_DEDUP_EMIT,				/* eventbus.dedup */
	EB_DEDUP_ONCE				/* eventbus.once */
} EbDedupTable;

/* ereports 22023 unless id is a v7 inside the window; the table decides on the hint. */
extern void eb_dedup_check(EbDedupTable table, const pg_uuid_t *id);

/*
 * True if id is new, and from now on this transaction's; waits for another
 * transaction that has just claimed it.
 */
extern bool eb_dedup_claim(const pg_uuid_t *id);

/* Likewise the pair of id and scope (a text datum), in eventbus.once. */
extern bool eb_dedup_claim_once(const pg_uuid_t *id, Datum scope);

/*
 * For the relay, in a transaction of its own: makes the next partitions and drops
 * those whose ids are all older than the window.  Never waits for a lock.
 */
extern void eb_dedup_maintain(void);

#endif							/* EB_DEDUP_H */
