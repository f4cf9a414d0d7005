/*
 * route.h
 *	  Which subscriptions want an event, and their open batches.
 */
#ifndef EB_ROUTE_H
#define EB_ROUTE_H

#include "queue.h"

/* The events that one pass has put aside for one lane of a subscription. */
typedef struct EbBatch
{
	int64	   *offsets;		/* room for batch_size */
	int			n;
	int64		first_ordinal;	/* of the pass's scan, to tell dense runs */
	int64		last_ordinal;
} EbBatch;

/* A subscription as the relay sees it; lives until the subscriptions change. */
typedef struct EbRoute
{
	EbSubscription *sub;		/* good until the end of the pass */
	EbSubShared *shared;		/* good for ever */
	int64		cursor;			/* last offset read for it; -1 = goes with the
								 * others */
	int64		pending;		/* events past cursor that await batch_window */
	TimestampTz pending_since;	/* 0 = none */
	int64		counted_to;		/* pending counts the events up to here */
	EbBatch    *batches[EB_LANE_COUNT];
	int			deliveries;		/* inserted by this pass */
	bool		replayed;		/* what is inserted is a replay */
} EbRoute;

typedef struct EbRouter
{
	MemoryContext context;
	uint64		generation;		/* of the subscriptions */
	int			nroutes;
	EbRoute    *routes;
	struct HTAB *types;			/* type -> indexes of routes */
	int64		ordinal;		/* events looked at by this pass */
	int64		routed;
	TimestampTz now;
	EbQueue    *queue;			/* open during a pass */
} EbRouter;

/* The indexes of the routes whose topics match a type. */
typedef struct EbTypeRoutes
{
	char		type[256];		/* hash key */
	int			n;
	int		   *routes;
} EbTypeRoutes;

extern EbRouter *eb_router_get(void);
extern EbRouter *eb_router_last(void);
extern EbTypeRoutes *eb_router_match(EbRouter *router, const char *type, int len);
extern int	eb_route_lane(bool ordered, TupleTableSlot *event);
extern void eb_route_add(EbRouter *router, EbRoute *route, TupleTableSlot *event, int64 offset);
extern bool eb_route_wants(EbRoute *route, TupleTableSlot *event);
extern void eb_route_flush(EbRouter *router, EbRoute *route);

#endif							/* EB_ROUTE_H */
