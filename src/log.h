/*
 * log.h
 *	  eventbus.event: the append-only log, segmented by offset.
 *
 * Nobody else opens the log's tables or indexes.  Readers must take the safe
 * offset first and the snapshot second (decision 1); eb_log_safe_snapshot does
 * both.
 */
#ifndef EB_LOG_H
#define EB_LOG_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

/* Columns of eventbus.event, in physical order. */
enum
{
	EB_LOG_OFFSET = 1,
	EB_LOG_DELIVER_AT,
	EB_LOG_EVENT_ID,
	EB_LOG_CORRELATION_ID,
	EB_LOG_CAUSATION_ID,
	EB_LOG_PRIORITY,
	EB_LOG_TYPE,
	EB_LOG_AGGREGATE_ID,
	EB_LOG_PAYLOAD,
	EB_LOG_HEADERS,
	EB_LOG_NATTS = EB_LOG_HEADERS
};

/* Columns of the SQL type eb_event; its order is eb_log_event_datums'. */
#define EB_EVENT_NATTS		11

typedef struct EbLogScan EbLogScan;

/* The row type of a segment; lives as long as the backend. */
extern TupleDesc eb_log_tupdesc(void);

/*
 * The safe offset, and a snapshot (registered) that was taken after it and so
 * sees every event at or below it that will ever exist.
 */
extern int64 eb_log_safe_snapshot(Snapshot *snapshot);

/*
 * Ascending scan of the offsets first..last, both included, over as many
 * segments as it takes.  The slot is valid until the next call.
 */
extern EbLogScan *eb_log_scan_begin(int64 first, int64 last, Snapshot snapshot);
extern void eb_log_scan_rescan(EbLogScan *scan, int64 first, int64 last);
extern void eb_log_scan_rescan_list(EbLogScan *scan, const int64 *offsets, int n);
extern TupleTableSlot *eb_log_scan_next(EbLogScan *scan);
extern void eb_log_scan_end(EbLogScan *scan);

/*
 * For who shows events to the outside before the relay has routed them: afterwards
 * no crash takes anything at or below offset back.
 */
extern void eb_log_make_durable(int64 offset);

/* The event with this id, or NULL, copied into the current memory context. */
extern TupleTableSlot *eb_log_find(const pg_uuid_t *event_id, Snapshot snapshot);

/* Highest and lowest offset on disk, visible or not; EB_NO_OFFSET if none. */
extern int64 eb_log_max_offset(void);
extern int64 eb_log_first_offset(void);

/* Makes the database's sequencer ready if it is not (after a restart). */
extern struct EbDb *eb_log_sequencer(void);

/* How many segments there are. */
extern int	eb_log_segment_count(void);

/* Segments up to and including the one that holds offset exist afterwards. */
extern void eb_log_ensure_segment(int64 offset);

/* Whether this transaction made a segment. */
extern bool eb_log_segment_made(void);

/* Appending; see log.c for the order that it must keep with the sequencer. */
extern void eb_log_append_begin(int64 n);
extern void eb_log_append(int64 offset, HeapTupleHeader row, uint32 len);
extern void eb_log_append_flush(void);
extern void eb_log_append_end(void);

/* Writes a log row as eb_event's columns into values/nulls (EB_EVENT_NATTS). */
extern void eb_log_event_datums(TupleTableSlot *slot, Datum *values, bool *nulls);

/* The first offset that was committed at or after "at" (conservative). */
extern int64 eb_log_offset_at(TimestampTz at);

#endif							/* EB_LOG_H */
