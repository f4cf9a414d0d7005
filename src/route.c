/*
 * route.c
 *	  Which subscriptions want an event, and their open batches.
 *
 * A type is held against all topic patterns once and remembered; a payload is
 * looked at only where the type matched and there is a filter.  A batch whose
 * events are all that the scan saw between its first and its last is dense: the
 * queue row says first and last and no more.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "log.h"
#include "route.h"

#define TYPES_MAX	100000		/* remembered; more and we start anew */

static EbRouter router;

/* Lanes that a route may have an open batch in begin at 0 and end before this. */
static inline int
batch_lanes(const EbRoute *route)
{
	return route->sub->ordered ? EB_LANE_COUNT : EB_LANE_PRIORITIES;
}

static void
create_types(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(((EbTypeRoutes *) NULL)->type);
	ctl.entrysize = sizeof(EbTypeRoutes);
	ctl.hcxt = router.context;
	router.types = hash_create("eventbus types", 256, &ctl,
							   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static void
rebuild(List *subs, uint64 generation)
{
	ListCell   *lc;
	int			i = 0;

	if (router.context == NULL)
		router.context = AllocSetContextCreate(TopMemoryContext, "eventbus router",
											   ALLOCSET_DEFAULT_SIZES);
	router.generation = 0;
	MemoryContextReset(router.context);
	router.nroutes = list_length(subs);
	router.routes = MemoryContextAllocZero(router.context,
										   Max(router.nroutes, 1) * sizeof(EbRoute));
	foreach(lc, subs)
	{
		router.routes[i].sub = lfirst(lc);
		router.routes[i].shared = router.routes[i].sub->shared;
		i++;
	}
	create_types();
	router.generation = generation;
}

/*
 * The router for the subscriptions as they are now, without open batches.  An
 * error in the middle of a pass may have left some.
 */
EbRouter *
eb_router_get(void)
{
	uint64		generation;
	List	   *subs = eb_subscription_all(&generation);

	if (router.generation != generation)
		rebuild(subs, generation);
	for (int i = 0; i < router.nroutes; i++)
	{
		EbRoute    *route = &router.routes[i];

		route->cursor = -1;
		route->deliveries = 0;
		for (int lane = 0; lane < batch_lanes(route); lane++)
			if (route->batches[lane] != NULL)
				route->batches[lane]->n = 0;
	}
	if (hash_get_num_entries(router.types) > TYPES_MAX)
	{
		hash_destroy(router.types);
		create_types();
	}
	router.ordinal = 0;
	router.routed = 0;
	return &router;
}

/* The router as the last pass left it. */
EbRouter *
eb_router_last(void)
{
	return &router;
}

/* The routes of a type; the pointer is good until the next call. */
EbTypeRoutes *
eb_router_match(EbRouter *r, const char *type, int len)
{
	static EbTypeRoutes *last = NULL;
	static uint64 last_generation = 0;
	char		key[sizeof(last->type)];
	EbTypeRoutes *entry;
	bool		found;

	if (last != NULL && last_generation == r->generation && r->ordinal > 0 &&
		strncmp(last->type, type, len) == 0 && last->type[len] == '\0')
		return last;
	if (len >= (int) sizeof(key))
		elog(ERROR, "event type of %d bytes in the log", len);
	memcpy(key, type, len);
	key[len] = '\0';
	entry = hash_search(r->types, key, HASH_ENTER, &found);
	if (!found)
	{
		entry->n = 0;
		entry->routes = NULL;
		entry->routes = MemoryContextAlloc(r->context, Max(r->nroutes, 1) * sizeof(int));
		for (int i = 0; i < r->nroutes; i++)
			if (eb_topic_match(r->routes[i].sub->topics, type, len))
				entry->routes[entry->n++] = i;
	}
	last = entry;
	last_generation = r->generation;
	return entry;
}

/* Whether the filter lets an event through whose type matched. */
bool
eb_route_wants(EbRoute *route, TupleTableSlot *event)
{
	static MemoryContext scratch = NULL;
	MemoryContext old;
	bool		failed = false;
	bool		wanted;

	if (route->sub->filter == NULL)
		return true;
	if (scratch == NULL)
		scratch = AllocSetContextCreate(TopMemoryContext, "eventbus filter",
										ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	wanted = eb_filter_match(route->sub->filter, event, &failed);
	MemoryContextSwitchTo(old);
	MemoryContextReset(scratch);
	if (failed)
		pg_atomic_fetch_add_u64(&route->sub->shared->filter_errors, 1);
	return wanted;
}

/* The lane of an event that is due. */
int
eb_route_lane(bool ordered, TupleTableSlot *event)
{
	bool		isnull;
	Datum		value;

	if (ordered)
	{
		value = slot_getattr(event, EB_LOG_AGGREGATE_ID, &isnull);
		if (!isnull)
		{
			text	   *aggregate = DatumGetTextPP(value);
			uint32		hash = hash_bytes((unsigned char *) VARDATA_ANY(aggregate),
										  VARSIZE_ANY_EXHDR(aggregate));

			return EB_LANE_ORDERED + hash % EB_ORDERED_LANES;
		}
	}
	value = slot_getattr(event, EB_LOG_PRIORITY, &isnull);
	return EB_LANE_PRIORITIES - 1 - DatumGetInt16(value);
}

/* The lane of an event, and its due time (0 = at once). */
static int
choose_lane(EbRouter *r, EbRoute *route, TupleTableSlot *event, TimestampTz *due)
{
	bool		isnull;
	Datum		value = slot_getattr(event, EB_LOG_DELIVER_AT, &isnull);

	*due = 0;
	if (!isnull && DatumGetTimestampTz(value) > r->now)
	{
		*due = DatumGetTimestampTz(value);
		return EB_LANE_DELAYED;
	}
	return eb_route_lane(route->sub->ordered, event);
}

/* Writes one queue row and lets the consumers find it. */
static void
insert_delivery(EbRouter *r, EbRoute *route, EbDelivery *d)
{
	d->replayed = route->replayed;
	eb_queue_insert(r->queue, d);
	eb_lane_lower(route->sub->shared, d->subscription_id, d->lane, d->position);
	pg_atomic_fetch_add_u64(&route->sub->shared->routed, d->events);
	route->deliveries++;
	r->routed += d->events;
}

static void
close_batch(EbRouter *r, EbRoute *route, int lane)
{
	EbBatch    *batch = route->batches[lane];
	EbDelivery	d = {0};

	d.subscription_id = route->sub->id;
	d.lane = lane;
	d.events = batch->n;
	d.first_offset = batch->offsets[0];
	d.last_offset = batch->offsets[batch->n - 1];
	d.position = d.first_offset;
	if (batch->last_ordinal - batch->first_ordinal != batch->n - 1)
		d.offsets = batch->offsets;
	insert_delivery(r, route, &d);
	batch->n = 0;
}

/* Puts an event that route wants into the lane's batch. */
void
eb_route_add(EbRouter *r, EbRoute *route, TupleTableSlot *event, int64 offset)
{
	TimestampTz due;
	int			lane = choose_lane(r, route, event, &due);
	EbBatch    *batch = route->batches[lane];

	if (due != 0)
	{
		EbDelivery	d = {0};

		d.subscription_id = route->sub->id;
		d.lane = lane;
		d.position = due;
		d.due_at = due;
		d.first_offset = d.last_offset = offset;
		d.events = 1;
		insert_delivery(r, route, &d);
		return;
	}
	if (batch == NULL)
	{
		batch = MemoryContextAllocZero(r->context, sizeof(EbBatch));
		batch->offsets = MemoryContextAlloc(r->context,
											route->sub->batch_size * sizeof(int64));
		route->batches[lane] = batch;
	}
	if (batch->n == 0)
		batch->first_ordinal = r->ordinal;
	batch->last_ordinal = r->ordinal;
	batch->offsets[batch->n++] = offset;
	if (batch->n >= route->sub->batch_size)
		close_batch(r, route, lane);
}

/* Writes what is left in the route's open batches. */
void
eb_route_flush(EbRouter *r, EbRoute *route)
{
	for (int lane = 0; lane < batch_lanes(route); lane++)
		if (route->batches[lane] != NULL && route->batches[lane]->n > 0)
			close_batch(r, route, lane);
}
