/*
 * subscription.h
 *	  The durable subscriptions of this database, cached in the backend.
 */
#ifndef EB_SUBSCRIPTION_H
#define EB_SUBSCRIPTION_H

#include "nodes/pg_list.h"

#include "filter.h"
#include "shmem.h"
#include "topic.h"

/* All times in microseconds.  Lives until the next call that may reload. */
typedef struct EbSubscription
{
	int32		id;
	char	   *name;
	Oid			owner;
	EbTopics   *topics;
	EbFilter   *filter;			/* NULL = none */
	int64		start_offset;	/* events at or below are not for it */
	bool		ordered;
	bool		paused;
	int			batch_size;
	int64		batch_window;
	int64		lease;
	int			max_attempts;
	int64		backoff;
	int64		backoff_max;
	int64		dlq_replay_after;	/* -1 = never */
	int			dlq_replay_max;
	EbSubShared *shared;
} EbSubscription;

/* Columns of eventbus.subscription. */
enum
{
	EB_SUB_ID = 1,
	EB_SUB_NAME,
	EB_SUB_OWNER,
	EB_SUB_TOPICS,
	EB_SUB_FILTER,
	EB_SUB_START_OFFSET,
	EB_SUB_ORDERING,
	EB_SUB_BATCH_SIZE,
	EB_SUB_BATCH_WINDOW,
	EB_SUB_LEASE,
	EB_SUB_MAX_ATTEMPTS,
	EB_SUB_BACKOFF,
	EB_SUB_BACKOFF_MAX,
	EB_SUB_DLQ_REPLAY_AFTER,
	EB_SUB_DLQ_REPLAY_MAX,
	EB_SUB_PAUSED,
	EB_SUB_NATTS = EB_SUB_PAUSED
};

/* All of them, as a list of EbSubscription; *generation changes with a reload. */
extern List *eb_subscription_all(uint64 *generation);

/* By name; errors with 42704 if there is none. */
extern EbSubscription *eb_subscription_by_name(const char *name);

/* By name; NULL if there is none. */
extern EbSubscription *eb_subscription_if_exists(const char *name);

/* By id; NULL if there is none. */
extern EbSubscription *eb_subscription_by_id(int32 id);

/*
 * Keeps it from being dropped until the end of this transaction.  False if it is
 * gone or, without wait, being dropped; the cache may have been reloaded.
 */
extern bool eb_subscription_hold(int32 id, bool wait);

/* Errors with 42501 unless the current user may consume from sub. */
extern void eb_subscription_check_consumer(const EbSubscription *sub);

/* Errors with 42501 unless the current user may change or drop sub. */
extern void eb_subscription_check_owner(const EbSubscription *sub);
extern void eb_subscription_check_owner_as(const EbSubscription *sub, Oid user);

/* Lets every session reload after this transaction's commit. */
extern void eb_subscription_changed(void);

#endif							/* EB_SUBSCRIPTION_H */
