/*
 * log_segment.h
 *	  The segments of the log, cached; for log*.c only.
 */
#ifndef EB_LOG_SEGMENT_H
#define EB_LOG_SEGMENT_H

#include "storage/lockdefs.h"
#include "utils/relcache.h"

typedef struct EbSegment
{
	Oid			relid;
	int64		first;			/* lowest offset */
	int64		end;			/* highest offset + 1 */
	Oid			offset_index;	/* InvalidOid until first needed */
	Oid			id_index;
} EbSegment;

/* The n-th segment by rising offset into *segment; false if there are fewer. */
extern bool eb_log_segment_nth(int n, EbSegment *segment);

/* The lowest segment that ends above offset, or false. */
extern bool eb_log_segment_above(int64 offset, EbSegment *segment);

/* Opens and locks a segment, index oids filled in; NULL if it is gone. */
extern Relation eb_log_segment_open(EbSegment *segment, LOCKMODE lockmode);

/* Returns once every process can find the segment. */
extern void eb_log_segment_await_told(const EbSegment *segment);

/* Counts what may have changed any segment or its indexes. */
extern uint64 eb_log_segment_generation(void);

#endif							/* EB_LOG_SEGMENT_H */
