/*
 * dedup.h
 *	  Ids that callers gave: each is accepted once (decision 4).
 */
#ifndef EB_DEDUP_H
#define EB_DEDUP_H

#include "utils/uuid.h"

/* ereports 22023 unless id is a v7 inside the window. */
extern void eb_dedup_check(const pg_uuid_t *id);

/*
 * True if id is new, and from now on this transaction's; waits for another
 * transaction that has just claimed it.
 */
extern bool eb_dedup_claim(const pg_uuid_t *id);

/*
 * For the relay, in a transaction of its own: makes the next partitions and drops
 * those whose ids are all older than the window.  Never waits for a lock.
 */
extern void eb_dedup_maintain(void);

#endif							/* EB_DEDUP_H */
