/*
 * settle_recent.h
 *	  What this session has fetched lately, so that it is settled without a search.
 */
#ifndef EB_SETTLE_RECENT_H
#define EB_SETTLE_RECENT_H

#include "utils/uuid.h"

#include "queue.h"

typedef struct EbRecentEvent
{
	int64		offset;
	pg_uuid_t	id;
} EbRecentEvent;

/* A delivery was leased, and these are its events, by rising offset. */
extern void eb_recent_delivery(const EbDelivery *d);
extern void eb_recent_event(const EbDelivery *d, int64 offset, const pg_uuid_t *id);

/* Its row was replaced by this one. */
extern void eb_recent_moved(const EbDelivery *d);

/* As eb_queue_find, but it may fail to find what is there. */
extern bool eb_recent_find(EbQueue *queue, int64 receipt, EbDelivery *d);

/* The events of a delivery, d->events of them, palloc'd; NULL if they are not known. */
extern EbRecentEvent *eb_recent_events(const EbDelivery *d);

#endif							/* EB_SETTLE_RECENT_H */
