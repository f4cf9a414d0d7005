/*
 * store.h
 *	  Tables that take turns, so that space returns without vacuum.
 *
 * One of them, the current one, takes all new rows.  Another is "empty" once no
 * row of it is alive and none can come any more, and "clean" once it is truncated.
 * Only a clean one becomes current again.  A state of 0 is what a restart leaves:
 * anything may be anywhere.
 */
#ifndef EB_STORE_H
#define EB_STORE_H

#include "utils/relcache.h"

#include "catalog.h"
#include "shmem.h"

/* A state: the current one, two sets of bits, and a count of the changes. */
#define EB_RING_EMPTY(i)		(1U << (2 + (i)))
#define EB_RING_CLEAN(i)		(1U << (2 + EB_STORES + (i)))
#define EB_RING_CHANGE			(1U << (2 + 2 * EB_STORES))
#define eb_ring_current(s)		((int) ((s) & 3))
#define eb_ring_empty(s, i)		(((s) & EB_RING_EMPTY(i)) != 0)
#define eb_ring_clean(s, i)		(((s) & EB_RING_CLEAN(i)) != 0)

extern uint32 eb_ring_state(EbRing *ring);
extern void eb_ring_switch(EbRing *ring, int store);
extern void eb_ring_note_empty(EbRing *ring, int store);
extern void eb_ring_note_clean(EbRing *ring, int store);
extern void eb_ring_forget(EbRing *ring, int store);

extern bool eb_store_mine(Oid table);
extern bool eb_store_seal(Oid table);
extern int64 eb_store_size(Oid table);
extern bool eb_store_is_clean(Oid table);
extern bool eb_store_has_rows(Oid table);
extern bool eb_store_may_truncate(const EbRing *ring, int store, Oid table);
extern bool eb_store_truncate(Oid table, bool (*unused) (Relation rel));

#endif							/* EB_STORE_H */
