/*
 * fetch_rows.h
 *	  The result of eb_fetch: the events of what was claimed, in order.
 */
#ifndef EB_FETCH_ROWS_H
#define EB_FETCH_ROWS_H

#include "nodes/execnodes.h"

#include "queue.h"

/* Reads the events of the claimed deliveries into a materialised result. */
extern void eb_fetch_rows(ReturnSetInfo *rsinfo, const EbClaim *claim);

#endif							/* EB_FETCH_ROWS_H */
