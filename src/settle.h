/*
 * settle.h
 *	  A receipt's way back: from the number a consumer shows to the delivery.
 */
#ifndef EB_SETTLE_H
#define EB_SETTLE_H

#include "utils/array.h"

#include "compat.h"
#include "queue.h"

/* A checked receipt: its delivery, subscription, and which events are meant. */
typedef struct EbSettle
{
	EbQueue    *queue;
	EbSubscription *sub;
	EbDelivery	delivery;
	EbDelivery	found;			/* as it is in the table */
	int64	   *chosen;			/* offsets meant */
	int			nchosen;
	int64	   *others;			/* the delivery's other offsets */
	int			nothers;
} EbSettle;

extern void eb_settle_open(EbSettle *settle, int64 receipt);
extern void eb_settle_choose(EbSettle *settle, ArrayType *event_ids);
extern void eb_settle_remove_chosen(EbSettle *settle);
extern void eb_settle_extend(EbSettle *settle, TimestampTz until);
pg_noreturn extern void eb_settle_stale(int64 receipt);
extern void eb_settle_close(EbSettle *settle);

#endif							/* EB_SETTLE_H */
