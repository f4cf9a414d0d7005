/*
 * queue.h
 *	  eventbus.delivery: rows in memory, row operations, claiming, settling.
 *
 * Nobody else opens the table.  src/README.md draws the states of a delivery.
 */
#ifndef EB_QUEUE_H
#define EB_QUEUE_H

#include "access/tableam.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "reason.h"
#include "shmem.h"
#include "subscription.h"

/* Columns of eventbus.delivery. */
enum
{
	EB_QUEUE_SEQ = 1,
	EB_QUEUE_POSITION,
	EB_QUEUE_SUBSCRIPTION,
	EB_QUEUE_LANE,
	EB_QUEUE_TOKEN,
	EB_QUEUE_FIRST_OFFSET,
	EB_QUEUE_LAST_OFFSET,
	EB_QUEUE_LEASE_UNTIL,
	EB_QUEUE_DUE_AT,
	EB_QUEUE_FIRST_DELIVERED_AT,
	EB_QUEUE_EVENTS,
	EB_QUEUE_ATTEMPT,
	EB_QUEUE_REPLAYS,
	EB_QUEUE_REPLAYED,
	EB_QUEUE_CONSUMER,
	EB_QUEUE_OFFSETS,
	EB_QUEUE_HISTORY,
	EB_QUEUE_PARTS,
	EB_QUEUE_STORE,
	EB_QUEUE_NATTS = EB_QUEUE_STORE
};

/* One delivery.  Pointers live in the context that was current at decoding. */
typedef struct EbDelivery
{
	ItemPointerData tid;
	int16		store;			/* where tid is */
	int64		seq;
	int64		position;		/* order in the lane: first offset, or due time */
	int32		subscription_id;
	int16		lane;
	uint16		token;			/* changes with every lease */
	int64		first_offset;
	int64		last_offset;
	TimestampTz lease_until;	/* 0 = not leased */
	TimestampTz due_at;			/* 0 = at once */
	TimestampTz first_delivered_at; /* 0 = never yet */
	int32		events;
	int32		attempt;		/* leases so far */
	int32		replays;		/* times it came back from the dead letters */
	bool		replayed;
	char	   *consumer;		/* NULL = none yet */
	int64	   *offsets;		/* NULL = every event from first to last */
	Jsonb	   *history;		/* NULL = no failure yet, or parts */
	bytea	   *parts;			/* NULL = all events have one past */
} EbDelivery;

/* A table of the queue, opened when it is needed first. */
typedef struct EbStore
{
	Relation	rel;			/* NULL = not open */
	Relation	index_seq;
	Relation	index_lane;
	IndexInfo  *info_seq;		/* for inserting; NULL = not needed yet */
	IndexInfo  *info_lane;
	TupleTableSlot *slot;		/* for writing */
} EbStore;

/* The opened queue; Init/Free pair. */
typedef struct EbQueue
{
	MemoryContext context;
	LOCKMODE	lockmode;
	EbRing	   *ring;
	int			target;			/* store that takes what we insert, -1 = not
								 * known yet */
	EbStore		stores[EB_STORES];
} EbQueue;

/* A receipt is the delivery's number and the token of the lease. */
#define EB_NO_RECEIPT			INT64CONST(0)	/* of an ephemeral subscription */
#define eb_receipt(d)			((int64) (((uint64) (d)->seq << 16) | (d)->token))
#define eb_receipt_seq(r)		((int64) ((uint64) (r) >> 16))
#define eb_receipt_token(r)		((uint16) ((r) & 0xFFFF))

/* queue_store.c: which tables */
extern EbQueue *eb_queue_open(LOCKMODE lockmode);
extern void eb_queue_close(EbQueue *queue);
extern void eb_queue_release(EbQueue *queue);
extern EbStore *eb_queue_store(EbQueue *queue, int store);
extern EbStore *eb_queue_target(EbQueue *queue);
extern uint32 eb_queue_look(EbQueue *queue);
extern Snapshot eb_queue_snapshot(EbQueue *queue);

/* queue.c: rows */
extern void eb_queue_decode(TupleTableSlot *slot, EbDelivery *d);
extern void eb_queue_insert(EbQueue *queue, EbDelivery *d);
extern void eb_queue_move(EbQueue *queue, EbDelivery *d);
extern TM_Result eb_queue_update(EbQueue *queue, EbDelivery *d, bool wait);
extern TM_Result eb_queue_delete(EbQueue *queue, EbDelivery *d, bool wait);
extern int	eb_queue_clear(EbQueue *queue, int32 subscription_id);
extern bool eb_queue_find(EbQueue *queue, int64 seq, EbDelivery *d);
extern int64 *eb_queue_offsets(const EbDelivery *d, int *n);
extern void eb_queue_set_offsets(EbDelivery *d, const int64 *offsets, int n);

/* queue_part.c: events of one delivery with different pasts */
extern int	eb_queue_part(const EbDelivery *d, const int64 *offsets, int n, EbDelivery *one);
extern TimestampTz eb_queue_first_delivered(const EbDelivery *d, int64 offset);
extern void eb_queue_fail(EbDelivery *d, const int64 *offsets, int n,
						  const EbFailure *failure);
extern bytea *eb_queue_join_parts(const EbDelivery *to, const EbDelivery *d);

/* queue_retry.c: what failed goes back */
extern void eb_queue_retry(EbQueue *queue, const EbSubscription *sub, EbDelivery *d,
						   const int64 *offsets, TimestampTz earliest, TimestampTz latest);
extern void eb_queue_retry_forget(void);

/* queue_lookup.c: is an event still in the queue? */
#define EB_PROBE_LANES	4

typedef struct EbQueueProbe
{
	int64		offset;
	TimestampTz deliver_at;		/* of the event; 0 = none */
	int			lanes[EB_PROBE_LANES];	/* where the event can be; -1 = none */
	EbLane		before[EB_PROBE_LANES]; /* their hints */
	int64		seq;			/* of the row that held it last; 0 = unknown */
} EbQueueProbe;

extern void eb_queue_probe_begin(EbSubscription *sub, EbQueueProbe *probe);
extern bool eb_queue_probe(EbQueue *queue, EbSubscription *sub, EbQueueProbe *probe,
						   Snapshot snapshot);

/* queue_claim.c: leasing what is available */
typedef struct EbClaim
{
	EbSubscription *sub;
	int			max_events;
	int64		lease;			/* us */
	TimestampTz now;
	int			taken;			/* events so far */
	bool		full;			/* the next delivery has no room */
	int			buried;			/* events that became dead letters */
	List	   *deliveries;		/* of EbDelivery, leased */
} EbClaim;

extern void eb_queue_claim(EbQueue *queue, EbClaim *claim);

/* queue_expire.c: leases that ran out */
extern void eb_queue_expire(const EbSubscription *sub, EbDelivery *d);
extern bool eb_queue_bury(EbQueue *queue, EbSubscription *sub, EbDelivery *d);
extern int	eb_queue_expire_last(EbQueue *queue, TimestampTz now);

/* queue_rotate.c: giving back the space of dead rows */
extern void eb_queue_rotate(EbDb *db);

/* queue_xact.c: what a rollback or a commit makes takeable */
extern void eb_queue_claimed(EbSubShared *shared, const EbDelivery *d);
extern void eb_queue_released(EbSubShared *shared, const EbDelivery *d);
extern void eb_queue_cleared(EbSubShared *shared, int32 subscription_id);
extern void eb_queue_settled(EbSubShared *shared, int acked);
extern void eb_relay_wanted(void);
extern void eb_queue_xact_init(void);

#endif							/* EB_QUEUE_H */
