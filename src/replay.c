/*
 * replay.c
 *	  eb_replay: a part of the log, delivered to one subscription once more.
 *
 * Runs in the caller's transaction, reads up to the safe offset and goes through
 * the same routing as new events, so lanes, batches and filters hold for a replay
 * as well.  Live traffic goes on meanwhile.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "log.h"
#include "route.h"

PG_FUNCTION_INFO_V1(eventbus_replay);

/* Arguments of eb_replay. */
enum
{
	ARG_SUBSCRIPTION,
	ARG_FROM_OFFSET,
	ARG_TO_OFFSET,
	ARG_FROM_TIME,
	ARG_TO_TIME,
	ARG_TOPICS,
	ARG_FILTER,
	ARG_DRY_RUN
};

typedef struct Replay
{
	EbRouter	router;
	EbRoute		route;
	EbTopics   *topics;			/* narrows further; NULL = no */
	EbFilter   *filter;			/* likewise */
	int64		first;
	int64		last;
	bool		dry_run;
} Replay;

static void
exclusive(bool a, bool b, const char *what)
{
	if (a && b)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s_offset and %s_time exclude each other", what, what),
				 errhint("Pass one of the two.")));
}

/* Which offsets: both ends included, never past the safe offset. */
static void
get_range(FunctionCallInfo fcinfo, Replay *r, int64 safe)
{
	exclusive(!PG_ARGISNULL(ARG_FROM_OFFSET), !PG_ARGISNULL(ARG_FROM_TIME), "from");
	exclusive(!PG_ARGISNULL(ARG_TO_OFFSET), !PG_ARGISNULL(ARG_TO_TIME), "to");
	if (PG_ARGISNULL(ARG_FROM_OFFSET) && PG_ARGISNULL(ARG_FROM_TIME))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("eb_replay needs a start"),
				 errhint("Pass from_offset or from_time; from_offset => 1 is the whole log.")));
	r->first = 1;
	if (!PG_ARGISNULL(ARG_FROM_OFFSET))
		r->first = PG_GETARG_INT64(ARG_FROM_OFFSET);
	else if (!PG_ARGISNULL(ARG_FROM_TIME))
		r->first = eb_log_offset_at(PG_GETARG_TIMESTAMPTZ(ARG_FROM_TIME));
	r->last = safe;
	if (!PG_ARGISNULL(ARG_TO_OFFSET))
		r->last = Min(safe, PG_GETARG_INT64(ARG_TO_OFFSET));
	else if (!PG_ARGISNULL(ARG_TO_TIME))
		r->last = Min(safe, eb_log_offset_at(PG_GETARG_TIMESTAMPTZ(ARG_TO_TIME)) - 1);
	if (r->first < 0 || (!PG_ARGISNULL(ARG_TO_OFFSET) && PG_GETARG_INT64(ARG_TO_OFFSET) < 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("offset must not be negative"),
				 errhint("Offsets begin at 1.")));
}

static EbTopics *
get_topics(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(ARG_TOPICS))
		return NULL;
	return eb_topic_compile_array(PG_GETARG_ARRAYTYPE_P(ARG_TOPICS));
}

static bool
wanted(Replay *r, TupleTableSlot *event)
{
	bool		isnull;
	bool		failed;
	text	   *type = DatumGetTextPP(slot_getattr(event, EB_LOG_TYPE, &isnull));
	const char *s = VARDATA_ANY(type);
	int			len = VARSIZE_ANY_EXHDR(type);

	return eb_topic_match(r->route.sub->topics, s, len) &&
		(r->topics == NULL || eb_topic_match(r->topics, s, len)) &&
		eb_route_wants(&r->route, event) &&
		(r->filter == NULL || eb_filter_match(r->filter, event, &failed));
}

/* Goes over the range; returns the events that are, or would be, delivered. */
static int64
run(Replay *r, Snapshot snapshot)
{
	EbLogScan  *scan = eb_log_scan_begin(r->first, r->last, snapshot);
	TupleTableSlot *event;
	int64		n = 0;

	while ((event = eb_log_scan_next(scan)) != NULL)
	{
		bool		isnull;
		int64		offset = DatumGetInt64(slot_getattr(event, EB_LOG_OFFSET, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (wanted(r, event))
		{
			n++;
			if (!r->dry_run)
				eb_route_add(&r->router, &r->route, event, offset);
		}
		r->router.ordinal++;
	}
	eb_log_scan_end(scan);
	if (!r->dry_run)
		eb_route_flush(&r->router, &r->route);
	return n;
}

/* eb_replay: see the banner. */
Datum
eventbus_replay(PG_FUNCTION_ARGS)
{
	Replay		r = {0};
	EbDb	   *db;
	EbSubscription sub;
	int64		safe;
	int64		n;
	Snapshot	snapshot;
	char	   *name;

	PreventCommandDuringRecovery("eb_replay");
	PreventCommandIfReadOnly("eb_replay");
	PreventCommandIfParallelMode("eb_replay");
	db = eb_log_sequencer();
	if (PG_ARGISNULL(ARG_SUBSCRIPTION))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("subscription must not be null"),
				 errhint("Pass the name of the subscription.")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_SUBSCRIPTION));
	sub = *eb_subscription_by_name(name);
	eb_subscription_check_owner(&sub);
	if (!eb_subscription_hold(sub.id, true))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" was dropped meanwhile", name),
				 errhint("Create it with eb_subscribe.")));
	sub = *eb_subscription_by_name(name);
	r.topics = get_topics(fcinfo);
	r.filter = PG_ARGISNULL(ARG_FILTER) ? NULL : eb_filter_compile(PG_GETARG_JSONPATH_P(ARG_FILTER));
	r.dry_run = !PG_ARGISNULL(ARG_DRY_RUN) && PG_GETARG_BOOL(ARG_DRY_RUN);
	safe = eb_sequencer_safe(db);
	get_range(fcinfo, &r, safe);

	r.router.context = CurrentMemoryContext;
	r.router.now = GetCurrentTimestamp();
	r.router.queue = eb_queue_open(RowExclusiveLock);
	r.route.sub = &sub;
	r.route.replayed = true;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	n = run(&r, snapshot);
	UnregisterSnapshot(snapshot);
	eb_queue_close(r.router.queue);
	if (r.route.deliveries > 0)
	{
		EbDelivery	any = {.subscription_id = sub.id, .lane = 0, .position = PG_INT64_MAX};

		eb_queue_released(sub.shared, &any);	/* wakes a consumer at commit */
		CommandCounterIncrement();
	}
	PG_RETURN_INT64(n);
}
