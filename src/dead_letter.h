/*
 * dead_letter.h
 *	  eventbus.dead_letter: what ran out of attempts or failed terminally.
 */
#ifndef EB_DEAD_LETTER_H
#define EB_DEAD_LETTER_H

#include "utils/uuid.h"

#include "queue.h"

/*
 * Writes a dead letter for each of these events of a delivery, whose last
 * failure is in its history already.  The caller takes the events out of the
 * queue in the same transaction.
 */
extern void eb_dead_letter_bury(EbSubscription *sub, const EbDelivery *d,
								const int64 *offsets, int n,
								const char *reason, const char *error);

/* Whether there is a letter of this event, of one subscription or (NULL) of any. */
extern bool eb_dead_letter_exists(const pg_uuid_t *event_id, const char *subscription,
								  Snapshot snapshot);

/* Replays letters that are due by themselves; returns how many. */
extern int64 eb_dead_letter_replay_due(void);

#endif							/* EB_DEAD_LETTER_H */
