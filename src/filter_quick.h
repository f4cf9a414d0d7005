/*
 * filter_quick.h
 *	  Saying no to an event without evaluating its filter.
 */
#ifndef EB_FILTER_QUICK_H
#define EB_FILTER_QUICK_H

#include "utils/jsonb.h"
#include "utils/jsonpath.h"

typedef struct EbQuick EbQuick;

/* In the current context; NULL if the path has nothing that is quickly refuted. */
extern EbQuick *eb_filter_quick_compile(JsonPath *path);

/* True if the path is false (neither true nor null) for this payload. */
extern bool eb_filter_quick_rejects(const EbQuick *quick, Jsonb *payload);

#endif							/* EB_FILTER_QUICK_H */
