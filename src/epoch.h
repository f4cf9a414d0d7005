/*
 * epoch.h
 *	  On which cluster, timeline and database offsets were given out (decision 5).
 */
#ifndef EB_EPOCH_H
#define EB_EPOCH_H

#include "shmem.h"

/* Whether the sequencer runs, or a relay may start it by itself. */
extern bool eb_epoch_may_run(EbDb *db);

/*
 * Where the counter starts, given the highest offset on disk; errors with 55000
 * while a dump is being restored.
 */
extern int64 eb_epoch_next_offset(int64 highest);

/* Records the epoch that has begun, if it is a new one; for the relay. */
extern void eb_epoch_maintain(EbDb *db);

/*
 * Before events are written: makes sure that an epoch is on record with the first
 * of them.  After a crash a relay would otherwise take the bus for unused.
 */
extern void eb_epoch_record(void);

#endif							/* EB_EPOCH_H */
