/*
 * delivery_row.h
 *	  Forming rows of eb_delivery, fast.
 */
#ifndef EB_DELIVERY_ROW_H
#define EB_DELIVERY_ROW_H

#include "access/htup.h"
#include "access/tupdesc.h"

#include "log.h"

/* Columns of eb_delivery before eb_event's. */
#define EB_DELIVERY_PREFIX	4
#define EB_DELIVERY_NATTS	(EB_DELIVERY_PREFIX + EB_EVENT_NATTS)

/* For all rows of a call; Init only, it goes with its memory context. */
typedef struct EbDeliveryFormer
{
	TupleDesc	desc;
	bool		known;			/* desc is what we lay rows out for */
	HeapTupleData tuple;		/* its t_data is a buffer that grows */
	Size		size;			/* of the buffer */
} EbDeliveryFormer;

extern void eb_delivery_former_init(EbDeliveryFormer *former, TupleDesc desc);

/* The row of these values; good until the next call. */
extern HeapTuple eb_delivery_form(EbDeliveryFormer *former, const Datum *values,
								  const bool *nulls);

#endif							/* EB_DELIVERY_ROW_H */
