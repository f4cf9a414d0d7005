/*
 * filter.h
 *	  Payload filters: a jsonpath predicate over an event.
 */
#ifndef EB_FILTER_H
#define EB_FILTER_H

#include "executor/tuptable.h"
#include "utils/jsonpath.h"

typedef struct EbFilter EbFilter;

/*
 * Compiles a path into the current memory context; 22023 for a variable that is
 * not of the envelope.
 */
extern EbFilter *eb_filter_compile(JsonPath *path);

/*
 * True if the predicate is true of the event in a row of the log.  *failed (may be
 * NULL) tells that it is neither true nor false.  Leaves garbage in the current
 * memory context, which the caller resets.
 */
extern bool eb_filter_match(EbFilter *filter, TupleTableSlot *log_row, bool *failed);

#endif							/* EB_FILTER_H */
