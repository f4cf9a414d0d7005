/*
 * await.c
 *	  eb_await: what became of an event, in one subscription or in all.
 *
 * An event is settled in a subscription when the relay has come past it, no row of
 * the queue holds it and no dead letter is there.  The three are read under one
 * snapshot, taken after the relay's position: what moves between the queue and the
 * dead letters moves in one transaction.  Where the relay has not come past it yet
 * the event's type and the filter decide whether it will be for the subscription.
 *
 * Between two looks the session sleeps on its latch, registered before the look.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "dead_letter.h"
#include "duration.h"
#include "guc.h"
#include "log.h"
#include "outbox.h"
#include "progress.h"
#include "queue.h"
#include "route.h"
#include "uuid7.h"

PG_FUNCTION_INFO_V1(eventbus_await);

/* A wake-up can be lost; nobody sleeps longer than this without a look. */
#define RECHECK_US		USECS_PER_SEC

typedef enum Outcome
{
	OUTCOME_PENDING,
	OUTCOME_FOUND,				/* the event is in the log now: look again */
	OUTCOME_ACKED,
	OUTCOME_DEAD
} Outcome;

/* What is remembered of the event's place in one subscription. */
typedef struct Place
{
	int32		subscription_id;
	EbQueueProbe probe;
} Place;

typedef struct Await
{
	EbDb	   *db;
	pg_uuid_t	id;
	char	   *name;			/* NULL = every subscription */
	TupleTableSlot *event;		/* NULL = not in the log yet */
	int64		offset;
	List	   *places;			/* of Place */
	MemoryContext context;		/* of the call */
	MemoryContext scratch;		/* of one look */
} Await;

/* The state of the bus at the moment of a look. */
typedef struct Moment
{
	Snapshot	snapshot;
	EbProgress	progress;
	List	   *seeks;			/* of EbCursor */
	EbQueue    *queue;
} Moment;

static Place *
place_of(Await *await, EbSubscription *sub)
{
	MemoryContext old = MemoryContextSwitchTo(await->context);
	Place	   *place = NULL;
	ListCell   *lc;
	bool		isnull;
	Datum		deliver_at;

	foreach(lc, await->places)
		if (((Place *) lfirst(lc))->subscription_id == sub->id)
			place = lfirst(lc);
	if (place == NULL)
	{
		place = palloc0(sizeof(Place));
		place->subscription_id = sub->id;
		place->probe.offset = await->offset;
		deliver_at = slot_getattr(await->event, EB_LOG_DELIVER_AT, &isnull);
		place->probe.deliver_at = isnull ? 0 : DatumGetTimestampTz(deliver_at);
		place->probe.lanes[0] = eb_route_lane(false, await->event);
		place->probe.lanes[1] = EB_LANE_RETRY;
		place->probe.lanes[2] = isnull ? -1 : EB_LANE_DELAYED;
		place->probe.lanes[3] = eb_route_lane(true, await->event);
		if (place->probe.lanes[3] == place->probe.lanes[0])
			place->probe.lanes[3] = -1;
		await->places = lappend(await->places, place);
	}
	MemoryContextSwitchTo(old);
	return place;
}

/* Looks for the event in the log, and keeps it. */
static Outcome
find_event(Await *await, Snapshot snapshot)
{
	MemoryContext old = MemoryContextSwitchTo(await->context);
	bool		isnull;

	await->event = eb_log_find(&await->id, snapshot);
	if (await->event != NULL)
		await->offset = DatumGetInt64(slot_getattr(await->event, EB_LOG_OFFSET, &isnull));
	MemoryContextSwitchTo(old);
	return await->event != NULL ? OUTCOME_FOUND : OUTCOME_PENDING;
}

static bool
is_wanted(Await *await, EbSubscription *sub)
{
	bool		isnull;
	text	   *type = DatumGetTextPP(slot_getattr(await->event, EB_LOG_TYPE, &isnull));

	return eb_topic_match(sub->topics, VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type)) &&
		(sub->filter == NULL || eb_filter_match(sub->filter, await->event, NULL));
}

/* How far the relay has come for a subscription. */
static int64
position_of(const Moment *now, EbSubscription *sub)
{
	int64		position = now->progress.position;
	ListCell   *lc;

	foreach(lc, now->progress.cursors)
	{
		const EbCursor *cursor = lfirst(lc);

		if (cursor->subscription_id == sub->id)
			position = cursor->position;
	}
	foreach(lc, now->seeks)
	{
		const EbCursor *seek = lfirst(lc);

		if (seek->subscription_id == sub->id)
			position = seek->position;
	}
	return position;
}

/* What became of the event in one subscription. */
static Outcome
look_at(Await *await, Moment *now, EbSubscription *sub)
{
	if (position_of(now, sub) < await->offset && is_wanted(await, sub))
		return OUTCOME_PENDING;
	if (eb_queue_probe(now->queue, sub, &place_of(await, sub)->probe, now->snapshot))
		return OUTCOME_PENDING;
	return OUTCOME_ACKED;
}

/* The subscriptions that count. */
static List *
await_subscriptions(const Await *await)
{
	if (await->name != NULL)
		return list_make1(eb_subscription_by_name(await->name));
	return eb_subscription_all(NULL);
}

/* One look at everything, in the scratch context. */
static Outcome
look(Await *await)
{
	List	   *subs = await_subscriptions(await);
	Moment		now = {0};
	int64		routed = (int64) pg_atomic_read_u64(&await->db->routed);
	Outcome		outcome = OUTCOME_PENDING;
	ListCell   *lc;

	if (await->event != NULL)
		foreach(lc, subs)
			eb_queue_probe_begin(lfirst(lc), &place_of(await, lfirst(lc))->probe);
	now.queue = eb_queue_open(AccessShareLock);
	now.snapshot = await->event == NULL ? RegisterSnapshot(GetLatestSnapshot()) :
		eb_queue_snapshot(now.queue);
	if (eb_dead_letter_exists(&await->id, await->name, now.snapshot))
		outcome = OUTCOME_DEAD;
	else if (await->event == NULL)
		outcome = find_event(await, now.snapshot);
	else
	{
		eb_progress_read(&now.progress, now.snapshot);
		now.progress.position = Max(now.progress.position, routed);
		now.seeks = eb_progress_seeks(now.snapshot);
		if (now.progress.position >= await->offset)
			outcome = OUTCOME_ACKED;
		foreach(lc, subs)
			if (outcome == OUTCOME_ACKED)
				outcome = look_at(await, &now, lfirst(lc));
	}
	UnregisterSnapshot(now.snapshot);
	eb_queue_release(now.queue);	/* who waits must not keep it from being truncated */
	eb_queue_close(now.queue);
	return outcome;
}

/* Looks until there is an outcome or the time is over. */
static Outcome
look_or_wait(Await *await, TimestampTz deadline)
{
	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(await->scratch);
		EbSubscription *sub = NULL;
		TimestampTz now;
		Outcome		outcome = look(await);

		if (await->name != NULL && await->event != NULL)
			sub = eb_subscription_by_name(await->name);
		MemoryContextSwitchTo(old);
		MemoryContextReset(await->scratch);
		if (outcome == OUTCOME_FOUND)
			continue;
		now = GetCurrentTimestamp();
		if (outcome != OUTCOME_PENDING || now >= deadline)
			return outcome;
		if (eb_await_begin(await->db, sub ? sub->shared : NULL))
			continue;			/* look once more, now as a sleeper */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (Min(deadline - now, RECHECK_US) + 999) / 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		AcceptInvalidationMessages();
	}
}

/* The deadline of the timeout argument, or 0 for a single look. */
static int64
timeout_us(FunctionCallInfo fcinfo)
{
	int64		us = eb_duration_us(PG_GETARG_INTERVAL_P(2), "timeout", 0);

	if (us > 0 && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("eb_await cannot wait in a REPEATABLE READ or SERIALIZABLE transaction"),
				 errhint("Use READ COMMITTED, or pass timeout => '0'.")));
	return Min(us, (int64) eb_max_wait * 1000);
}

/* eb_await(event_id, subscription, timeout) */
Datum
eventbus_await(PG_FUNCTION_ARGS)
{
	Await		await = {.db = eb_shmem_db()};
	TimestampTz deadline;
	Outcome		outcome;

	PreventCommandIfParallelMode("eb_await");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event_id and timeout must not be null"),
				 errhint("Pass the id that eb_emit returned.")));
	await.id = *PG_GETARG_UUID_P(0);
	if (!eb_uuid7_is_v7(&await.id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event_id is not a version 7 UUID"),
				 errhint("Pass the id that eb_emit returned.")));
	if (eb_outbox_has_generated(&await.id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an event cannot be awaited in the transaction that emits it"),
				 errhint("Commit first: before that nobody can have received it.")));
	await.name = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	await.context = CurrentMemoryContext;
	await.scratch = AllocSetContextCreate(CurrentMemoryContext, "eventbus await",
										  ALLOCSET_DEFAULT_SIZES);
	deadline = GetCurrentTimestamp() + timeout_us(fcinfo);
	outcome = look_or_wait(&await, deadline);
	eb_await_end();
	if (await.event != NULL)
		ExecDropSingleTupleTableSlot(await.event);
	MemoryContextDelete(await.scratch);
	PG_RETURN_TEXT_P(cstring_to_text(outcome == OUTCOME_ACKED ? "acked" :
									 outcome == OUTCOME_DEAD ? "dead" : "timeout"));
}
