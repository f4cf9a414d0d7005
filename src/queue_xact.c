/*
 * queue_xact.c
 *	  What the end of a transaction makes takeable.
 *
 * A lease that is rolled back, and in an ordered lane a settled delivery that is
 * committed, let somebody else go on: the lane's hint is lowered after the
 * transaction left the proc array, and a waiting consumer is woken.  A rolled
 * back savepoint lowers everything that the transaction has leased so far: hints
 * may err downwards.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "queue.h"

#define ALL_LANES	(-1)

typedef struct Touched
{
	EbSubShared *shared;
	int32		id;
	int16		lane;
	int64		position;		/* the lowest, for a rollback */
	int64		released;		/* the lowest that is settled or put back, for a
								 * commit; EB_LANE_EMPTY = none */
	struct Touched *next;
} Touched;

static Touched *touched = NULL; /* in TopTransactionContext */
/* Subscriptions that this transaction settles something of; too many: any. */
#define SETTLED_MAX 8
static EbSubShared *settled[SETTLED_MAX];
static int64 acked_events[SETTLED_MAX];
static int	nsettled = 0;

static EbDb *relay_wanted = NULL;	/* whose relay to wake at commit */

static void
touch(EbSubShared *shared, const EbDelivery *d, bool on_commit)
{
	Touched    *t;

	for (t = touched; t != NULL; t = t->next)
		if (t->shared == shared && t->id == d->subscription_id && t->lane == d->lane)
			break;
	if (t == NULL)
	{
		t = MemoryContextAlloc(TopTransactionContext, sizeof(Touched));
		t->shared = shared;
		t->id = d->subscription_id;
		t->lane = d->lane;
		t->position = d->position;
		t->released = EB_LANE_EMPTY;
		t->next = touched;
		touched = t;
	}
	t->position = Min(t->position, d->position);
	if (on_commit)
		t->released = Min(t->released, d->position);
}

/* This transaction leased d: if it rolls back, d is takeable again. */
void
eb_queue_claimed(EbSubShared *shared, const EbDelivery *d)
{
	touch(shared, d, false);
}

/* This transaction settled or released d: at its end something is takeable. */
void
eb_queue_released(EbSubShared *shared, const EbDelivery *d)
{
	touch(shared, d, true);
}

/* This transaction drops what is queued: if it rolls back, all is as it was. */
void
eb_queue_cleared(EbSubShared *shared, int32 subscription_id)
{
	EbDelivery	all = {.subscription_id = subscription_id, .lane = ALL_LANES};

	touch(shared, &all, false);
}

/*
 * This transaction settles events, so many of them with an ack: tell eb_await,
 * and count them, at commit.
 */
void
eb_queue_settled(EbSubShared *shared, int acked)
{
	for (int i = 0; i < Min(nsettled, SETTLED_MAX); i++)
	{
		if (settled[i] == shared)
		{
			acked_events[i] += acked;
			return;
		}
	}
	if (nsettled < SETTLED_MAX)
	{
		settled[nsettled] = shared;
		acked_events[nsettled] = acked;
	}
	else
		pg_atomic_fetch_add_u64(&shared->acked, acked);
	nsettled++;
}

static void
wake_settled(void)
{
	if (nsettled > SETTLED_MAX)
		eb_wake_awaiters(settled[0]->db);
	for (int i = 0; i < Min(nsettled, SETTLED_MAX); i++)
	{
		pg_atomic_fetch_add_u64(&settled[i]->acked, acked_events[i]);
		eb_wake_settled(settled[i]);
	}
}

/* This transaction leaves work for the relay: wake it at commit. */
void
eb_relay_wanted(void)
{
	relay_wanted = eb_shmem_db();
}

static void
lower_all(bool commit)
{
	for (Touched *t = touched; t != NULL; t = t->next)
	{
		int64		position = commit ? t->released : t->position;

		if (position == EB_LANE_EMPTY)
			continue;
		if (t->lane == ALL_LANES)
			eb_lane_rewind(t->shared, t->id);
		else
			eb_lane_lower(t->shared, t->id, t->lane, position);
		eb_wake_consumers(t->shared, 1);
	}
}

/* A sleeper that goes away may have swallowed a wake-up: pass it on. */
static void
stop_waiting(void)
{
	EbSubShared *sub = eb_wait_end();

	eb_await_end();
	if (sub != NULL)
		eb_wake_consumers(sub, 1);
}

static void
at_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			/* What is prepared may be rolled back, and nobody tells us then. */
			lower_all(event == XACT_EVENT_COMMIT);
			touched = NULL;
			eb_queue_retry_forget();
			wake_settled();
			nsettled = 0;
			if (relay_wanted != NULL)
			{
				pg_atomic_fetch_add_u32(&relay_wanted->relay_requests, 1);
				eb_wake_relay(relay_wanted);
			}
			relay_wanted = NULL;
			break;
		case XACT_EVENT_ABORT:
			stop_waiting();
			lower_all(false);
			touched = NULL;
			eb_queue_retry_forget();
			nsettled = 0;
			relay_wanted = NULL;
			break;
		default:
			break;
	}
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mySubid,
			   SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		stop_waiting();
		lower_all(false);
		eb_queue_retry_forget();
	}
}

/* Registers the callbacks; once, from _PG_init. */
void
eb_queue_xact_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}
