/*
 * relay.c
 *	  From the log to the queue: one bounded pass.
 *
 * A pass reads the safe offset first and takes its snapshot second (decision 1),
 * routes what lies between the last position and the safe offset, and writes the
 * deliveries and one progress row in one transaction: crash anywhere, and no
 * event is routed twice or not at all.  The events are flushed before they are
 * read, so the transaction itself may commit asynchronously: what a crash takes
 * back of it is routed again.
 *
 * A subscription that is behind (new with a start in the past, moved by eb_seek,
 * or gathering a batch_window) has a cursor of its own, which travels in the
 * progress row.  One such subscription gets one bounded chunk a pass, so nobody
 * else waits for it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "dead_letter.h"
#include "dedup.h"
#include "epoch.h"
#include "eventbus.h"
#include "fault.h"
#include "guc.h"
#include "log.h"
#include "progress.h"
#include "relay.h"
#include "route.h"

/* Field 4 of an advisory lock tag; users' own locks have 1 or 2 there. */
#define PASS_LOCK_CLASS 7

/* Without anything routed, progress is written this often at most. */
#define PROGRESS_INTERVAL_US	USECS_PER_SEC

/* A relay that finds another session at a pass looks again after this time. */
#define LOCK_RETRY_US			(10 * 1000)

/* Part of a pass that goes to a subscription that is behind. */
#define CATCH_UP_SHARE	4

typedef struct Pass
{
	EbDb	   *db;
	EbRouter   *router;
	EbProgress	progress;		/* as the last pass left it */
	int64		safe;
	int64		end;			/* what this pass reaches */
	TimestampTz now;			/* after safe was read */
	Snapshot	snapshot;
	EbLogScan  *scan;
	bool		cursors_changed;
	bool		more;
	TimestampTz next_wanted;
} Pass;

/* What eb_relay_committed has to publish; of the pass in this transaction. */
static EbDb *committed_db = NULL;
static int64 committed_position = -1;
static bool committed_wake_all = false;
static uint64 seen_generation = 0;

/* See relay.h. */
bool
eb_relay_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, eb_catalog()->extension, 0, PASS_LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, AmBackgroundWorkerProcess()) !=
		LOCKACQUIRE_NOT_AVAIL;
}

static EbRoute *
find_route(EbRouter *router, int32 id)
{
	for (int i = 0; i < router->nroutes; i++)
		if (router->routes[i].sub->id == id)
			return &router->routes[i];
	return NULL;
}

static bool
has_route(void *router, int32 id)
{
	return find_route(router, id) != NULL;
}

/* Puts the cursors of the last pass, and the seeks since, into the routes. */
static void
load_cursors(Pass *pass)
{
	ListCell   *lc;
	bool		left = false;

	foreach(lc, pass->progress.cursors)
	{
		EbCursor   *cursor = lfirst(lc);
		EbRoute    *route = find_route(pass->router, cursor->subscription_id);

		if (route != NULL)
			route->cursor = cursor->position;
		else
			pass->cursors_changed = true;	/* unsubscribed */
	}
	foreach(lc, eb_progress_take_seeks(pass->snapshot, has_route, pass->router, &left))
	{
		EbCursor   *seek = lfirst(lc);
		EbRoute    *route = find_route(pass->router, seek->subscription_id);

		pass->cursors_changed = true;
		route->cursor = seek->position;
		route->pending = 0;
		route->pending_since = 0;
		if (seek->clear)
			(void) eb_queue_clear(pass->router->queue, seek->subscription_id);
	}
	if (left)
		pass->next_wanted = pass->now + LOCK_RETRY_US;
	for (int i = 0; i < pass->router->nroutes; i++)
	{
		EbRoute    *route = &pass->router->routes[i];

		/* One that gathers a batch_window always has a cursor. */
		if (route->sub->batch_window > 0 && route->cursor < 0)
		{
			route->cursor = pass->progress.position;
			pass->cursors_changed = true;
		}
	}
}

static const char *
event_type(TupleTableSlot *event, int *len)
{
	bool		isnull;
	text	   *type = DatumGetTextPP(slot_getattr(event, EB_LOG_TYPE, &isnull));

	*len = VARSIZE_ANY_EXHDR(type);
	return VARDATA_ANY(type);
}

/* An event for those who go with the others; the rest only count it. */
static void
route_event(Pass *pass, TupleTableSlot *event, int64 offset)
{
	int			len;
	const char *type = event_type(event, &len);
	EbTypeRoutes *routes = eb_router_match(pass->router, type, len);

	for (int i = 0; i < routes->n; i++)
	{
		EbRoute    *route = &pass->router->routes[routes->routes[i]];

		if (route->cursor >= offset)
			continue;
		if (route->sub->batch_window > 0)
		{
			if (route->pending++ == 0)
				route->pending_since = pass->now;
			continue;
		}
		if (route->cursor >= 0 && route->cursor < pass->progress.position)
			continue;			/* behind: catch_up will bring it here */
		if (eb_route_wants(route, event))
			eb_route_add(pass->router, route, event, offset);
	}
}

/* Routes new events to all that are up to date; sets pass->end. */
static void
route_new(Pass *pass)
{
	TupleTableSlot *event;
	int			n = 0;
	bool		isnull;

	pass->end = pass->safe;
	if (pass->progress.position >= pass->safe)
		return;
	eb_log_scan_rescan(pass->scan, pass->progress.position + 1, pass->safe);
	while ((event = eb_log_scan_next(pass->scan)) != NULL)
	{
		int64		offset = DatumGetInt64(slot_getattr(event, EB_LOG_OFFSET, &isnull));

		CHECK_FOR_INTERRUPTS();
		route_event(pass, event, offset);
		pass->router->ordinal++;
		if (++n >= eb_relay_pass_events)
		{
			pass->end = offset;
			pass->more = (offset < pass->safe);
			break;
		}
	}
}

/* The type that was last held against a route's topics. */
typedef struct TypeMemo
{
	bool		match;
	int			len;			/* -1 = none yet */
	char		type[EB_TYPE_MAX_LEN + 1];
} TypeMemo;

static bool
topics_match(TypeMemo *memo, const EbRoute *route, const char *type, int len)
{
	if (len != memo->len || memcmp(type, memo->type, len) != 0)
	{
		memo->match = eb_topic_match(route->sub->topics, type, len);
		memo->len = Min(len, EB_TYPE_MAX_LEN);
		memcpy(memo->type, type, memo->len);
	}
	return memo->match;
}

/* Routes up to "limit" events past a route's cursor to it alone. */
static void
catch_up(Pass *pass, EbRoute *route, int limit)
{
	TupleTableSlot *event;
	TypeMemo	memo = {.len = -1};
	int64		end = pass->end;
	int			n = 0;
	bool		isnull;

	eb_log_scan_rescan(pass->scan, route->cursor + 1, pass->end);
	while ((event = eb_log_scan_next(pass->scan)) != NULL)
	{
		int64		offset = DatumGetInt64(slot_getattr(event, EB_LOG_OFFSET, &isnull));
		int			len;
		const char *type = event_type(event, &len);

		CHECK_FOR_INTERRUPTS();
		if (topics_match(&memo, route, type, len) && eb_route_wants(route, event))
			eb_route_add(pass->router, route, event, offset);
		pass->router->ordinal++;
		if (++n >= limit)
		{
			end = offset;
			break;
		}
	}
	pass->more |= (end < pass->end);
	route->cursor = end;
	route->pending = 0;
	route->pending_since = 0;
	pass->cursors_changed = true;
}

/* Whether a route that gathers must be served now. */
static bool
window_over(Pass *pass, EbRoute *route)
{
	TimestampTz due;

	if (route->pending == 0)
		return false;
	due = route->pending_since + route->sub->batch_window;
	if (route->pending >= route->sub->batch_size || due <= pass->now)
		return true;
	if (pass->next_wanted == 0 || due < pass->next_wanted)
		pass->next_wanted = due;
	return false;
}

/*
 * Serves a route that gathers.  What is pending is counted in memory; after a
 * restart, or a pass that was rolled back, the count is not to be trusted and
 * the log is read from the cursor on.
 */
static void
serve_windowed(Pass *pass, EbRoute *route)
{
	bool		trusted = (route->counted_to == pass->progress.position);

	if (!trusted && route->cursor < pass->progress.position)
		catch_up(pass, route, eb_relay_pass_events);
	else if (window_over(pass, route))
		catch_up(pass, route, eb_relay_pass_events);
	else if (route->pending == 0 && route->cursor < pass->end)
		route->cursor = pass->end;	/* nothing for it in between */
	route->counted_to = pass->end;
}

/*
 * Serves those with a cursor: all that gather, and one, in turn, of those that
 * are behind.
 */
static void
route_behind(Pass *pass)
{
	static int	turn = 0;
	EbRouter   *router = pass->router;
	int			start = turn;
	bool		served = false;

	for (int k = 0; k < router->nroutes; k++)
	{
		int			i = (start + k) % router->nroutes;
		EbRoute    *route = &router->routes[i];

		if (route->cursor < 0)
			continue;
		if (route->sub->batch_window > 0)
		{
			serve_windowed(pass, route);
			continue;
		}
		if (route->cursor < pass->progress.position)
		{
			if (served)
			{
				pass->more = true;
				continue;
			}
			served = true;
			turn = i + 1;
			catch_up(pass, route, Max(eb_relay_pass_events / CATCH_UP_SHARE, 1));
			if (route->cursor < pass->end)
				continue;
		}
		if (route->cursor <= pass->end)
		{
			route->cursor = -1; /* it goes with the others from here on */
			pass->cursors_changed = true;
		}
	}
}

/*
 * The time of this pass.  Times do not fall when the clock is set back, or eb_offset_at
 * would pass over events; a clock that was ahead by more than a day is not waited for.
 */
static TimestampTz
progress_time(const Pass *pass)
{
	TimestampTz last = pass->progress.at;

	return pass->now < last && last - pass->now <= USECS_PER_DAY ? last : pass->now;
}

static void
write_progress(Pass *pass)
{
	EbProgress	next = {.pass = pass->progress.pass + 1, .position = pass->end,
	.at = progress_time(pass)};

	if (EB_FAULT("progress_apart"))
		next.position = pass->progress.position;	/* the next pass writes it */
	if (pass->router->routed == 0 && !pass->cursors_changed &&
		(pass->end == pass->progress.position ||
		 (pass->now >= pass->progress.at &&
		  pass->now - pass->progress.at < PROGRESS_INTERVAL_US)))
		return;
	for (int i = 0; i < pass->router->nroutes; i++)
	{
		EbRoute    *route = &pass->router->routes[i];
		EbCursor   *cursor;

		if (route->cursor < 0)
			continue;
		cursor = palloc0(sizeof(EbCursor));
		cursor->subscription_id = route->sub->id;
		cursor->position = route->cursor;
		next.cursors = lappend(next.cursors, cursor);
	}
	eb_progress_write(&next);
}

static void
notify(Pass *pass)
{
	for (int i = 0; i < pass->router->nroutes; i++)
	{
		EbRoute    *route = &pass->router->routes[i];
		char		channel[NAMEDATALEN];

		if (route->deliveries == 0 || !eb_relay_notify)
			continue;
		snprintf(channel, sizeof(channel), EB_CHANNEL_PREFIX "%s", route->sub->name);
		Async_Notify(channel, "");
	}
}

/* See relay.h. */
void
eb_relay_pass(EbRelayPass *result)
{
	Pass		pass = {0};

	memset(result, 0, sizeof(EbRelayPass));
	committed_position = -1;
	result->requests = pg_atomic_read_u32(&eb_shmem_db()->relay_requests);
	if (!eb_relay_lock())
	{
		result->position = PG_INT64_MAX;	/* no commit is to end the sleep */
		result->next_wanted = GetCurrentTimestamp() + LOCK_RETRY_US;
		return;
	}
	pass.db = eb_log_sequencer();
	pass.safe = eb_sequencer_safe(pass.db);

	/*
	 * Whoever subscribed before one of the events up to safe was committed, or
	 * is known to an earlier pass, is in our cache from here on.
	 */
	AcceptInvalidationMessages();
	pass.now = GetCurrentTimestamp();
	pass.snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (EB_FAULT("safe_after_snapshot"))
	{
		pg_usleep(2000);
		pass.safe = eb_sequencer_safe(pass.db);
	}
	PushActiveSnapshot(pass.snapshot);

	pass.router = eb_router_get();
	pass.router->now = pass.now;
	pass.router->queue = eb_queue_open(RowExclusiveLock);
	committed_wake_all = (seen_generation != pass.router->generation);
	seen_generation = pass.router->generation;

	eb_progress_read(&pass.progress, pass.snapshot);
	pass.progress.position = Max(pass.progress.position,
								 (int64) pg_atomic_read_u64(&pass.db->routed));
	load_cursors(&pass);
	pass.scan = eb_log_scan_begin(1, 0, pass.snapshot);
	route_new(&pass);
	route_behind(&pass);
	eb_fault_point("relay_after_scan");
	for (int i = 0; i < pass.router->nroutes; i++)
		eb_route_flush(pass.router, &pass.router->routes[i]);
	write_progress(&pass);
	notify(&pass);

	eb_log_scan_end(pass.scan);
	eb_queue_close(pass.router->queue);
	PopActiveSnapshot();
	UnregisterSnapshot(pass.snapshot);
	committed_db = pass.db;
	result->position = committed_position = pass.end;
	result->routed = pass.router->routed;
	result->more = pass.more;
	result->next_wanted = pass.next_wanted;
	eb_fault_point("relay_before_commit");
}

/* See relay.h. */
void
eb_relay_committed(void)
{
	EbRouter   *router = eb_router_last();

	if (committed_position < 0)
		return;
	eb_fault_point("relay_after_commit");
	/* No catalog access here: the transaction is over, and so may a route's sub be. */
	if ((int64) pg_atomic_read_u64(&committed_db->routed) < committed_position)
		pg_atomic_write_u64(&committed_db->routed, committed_position);
	committed_position = -1;
	eb_wake_routed(committed_db);
	for (int i = 0; i < router->nroutes; i++)
	{
		EbRoute    *route = &router->routes[i];

		if (committed_wake_all)
			eb_wake_consumers(route->shared, PG_INT32_MAX);
		else if (route->deliveries > 0)
			eb_wake_consumers(route->shared, route->deliveries);
		route->deliveries = 0;
	}
}

/* Deletes what unsubscribed subscriptions have left in the queue. */
static void
sweep_orphans(EbDb *db)
{
	static uint64 swept_generation = 0;
	uint64		generation;
	List	   *subs = eb_subscription_all(&generation);
	int32	   *ids = palloc(Max(list_length(subs), 1) * sizeof(int32));
	ListCell   *lc;

	if (generation == swept_generation)
		return;
	foreach(lc, subs)
		ids[foreach_current_index(lc)] = ((EbSubscription *) lfirst(lc))->id;
	eb_shmem_subs_retain(db, ids, list_length(subs));

	SPI_connect();
	if (SPI_execute("DELETE FROM eventbus.delivery WHERE subscription_id NOT IN "
					"(SELECT id FROM eventbus.subscription)", false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not sweep the queue");
	if (SPI_execute("DELETE FROM eventbus.privilege WHERE subscription_id NOT IN "
					"(SELECT id FROM eventbus.subscription)", false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not sweep the privileges");
	SPI_finish();
	swept_generation = generation;
}

/*
 * What nobody comes to fetch and has run out of attempts becomes a dead letter;
 * dead letters that are due by themselves go back.
 */
static void
tend_failures(void)
{
	EbQueue    *queue = eb_queue_open(RowExclusiveLock);

	(void) eb_queue_expire_last(queue, GetCurrentTimestamp());
	eb_queue_close(queue);
	(void) eb_dead_letter_replay_due();
}

/* The rates of the statistics. */
static void
sample_rates(void)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, eb_subscription_all(NULL))
	{
		EbSubscription *sub = lfirst(lc);

		eb_rate_sample(sub->shared, sub->id, now);
	}
}

/*
 * Tells of new segments once more.  A session may have been building the server's
 * own descriptor of eventbus.event while the first news came, and would go on
 * without the newest segment when it reads the table (partition.c).
 */
static void
repeat_news(void)
{
	static int	told = 0;
	int			segments = eb_log_segment_count();

	if (segments != told)
		CacheInvalidateRelcacheByRelid(eb_catalog()->event);
	told = segments;
}

/* See relay.h. */
void
eb_relay_rotate(void)
{
	EbDb	   *db = eb_shmem_db();

	if (!eb_relay_lock())
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	eb_queue_rotate(db);
	eb_progress_rotate(db);
	PopActiveSnapshot();
}

/* See relay.h. */
void
eb_relay_maintain(void)
{
	EbDb	   *db = eb_log_sequencer();
	EbOwnerScope scope;

	PushActiveSnapshot(GetTransactionSnapshot());
	eb_epoch_maintain(db);
	eb_log_ensure_segment(eb_sequencer_next(db) + Max(eb_segment_events / 2, 1));
	repeat_news();
	eb_dedup_maintain();
	eb_owner_begin(&scope);
	sweep_orphans(db);
	eb_owner_end(&scope);
	tend_failures();
	sample_rates();
	PopActiveSnapshot();
}
