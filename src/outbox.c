/*
 * outbox.c
 *	  The outbox: the events that this transaction has emitted and not committed.
 *
 * Until the commit an event is bytes in this backend; a transaction or savepoint
 * that rolls back has written nothing.  The promise of the log's order (decision
 * 1) is kept in flush and after_commit:
 *
 * - offsets are reserved in the transaction's pre-commit, with the segment already
 *   open and locked, so that nothing between reserving and committing waits for
 *   another emitter;
 * - reserving publishes the run as in flight, and it stays so until the transaction
 *   has left the proc array (XACT_EVENT_COMMIT) or is rolled back.  Whoever reads
 *   the safe offset first and takes a snapshot second therefore sees every event at
 *   or below it that will ever exist;
 * - whoever could see our commit before its own began reserves after us, higher.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "epoch.h"
#include "fault.h"
#include "guc.h"
#include "hold.h"
#include "log.h"
#include "outbox.h"
#include "outbox_store.h"
#include "shmem.h"

/* The outbox before the first event of a subtransaction, at this nesting level. */
typedef struct EbOutboxLevel
{
	int			level;
	EbOutboxMark mark;
} EbOutboxLevel;

#define FIRST_LEVELS	16

static EbOutboxLevel first_levels[FIRST_LEVELS];
static EbOutboxLevel *levels = first_levels;
static int	nlevels = 0;
static int	levels_capacity = FIRST_LEVELS;

static bool flushed = false;	/* this transaction's pre-commit is past us */
static EbDb *flushed_db = NULL; /* where its offsets were reserved */
static EbDb *late_db = NULL;	/* where they become safe a little later */
static int64 late_n = 0;		/* events there */
static int64 early = 0;			/* of the seeded bug reserve_at_emit */

/* Back to an empty outbox; the memory is the transaction's and went with it. */
static void
forget(void)
{
	eb_outbox_store_forget();
	levels = first_levels;
	levels_capacity = FIRST_LEVELS;
	nlevels = 0;
	flushed = false;
	flushed_db = NULL;
}

void
eb_outbox_check(const char *function)
{
	eb_shmem_require();
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	if (flushed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot emit an event while the transaction commits"),
				 errdetail("The transaction's events have been written already."),
				 errhint("Emit before COMMIT, for example from a deferred constraint trigger.")));
}

static void
grow_levels(void)
{
	EbOutboxLevel *grown;

	grown = MemoryContextAllocHuge(TopTransactionContext,
								   2 * levels_capacity * sizeof(EbOutboxLevel));
	memcpy(grown, levels, nlevels * sizeof(EbOutboxLevel));
	if (levels != first_levels)
		pfree(levels);
	levels = grown;
	levels_capacity *= 2;
}

/* Notes where the outbox stood before this subtransaction's first event. */
static void
remember_level(void)
{
	int			level = GetCurrentTransactionNestLevel();

	if (level == 1 || (nlevels > 0 && levels[nlevels - 1].level == level))
		return;
	if (nlevels == levels_capacity)
		grow_levels();
	levels[nlevels].level = level;
	eb_outbox_store_mark(&levels[nlevels].mark);
	nlevels++;
}

/* Forms the row in place: no copy of the event is ever made but this one. */
void
eb_outbox_append(const Datum *values, const bool *nulls, bool generated)
{
	TupleDesc	tupdesc = eb_log_tupdesc();
	Datum	   *datums = unconstify(Datum *, values);
	bool	   *isnull = unconstify(bool *, nulls);
	bool		hasnull = false;
	Size		hoff = SizeofHeapTupleHeader;
	Size		data_len = heap_compute_data_size(tupdesc, datums, isnull);
	HeapTupleHeader row;

	for (int i = 0; i < EB_LOG_NATTS; i++)
		hasnull |= nulls[i];
	if (hasnull)
		hoff += BITMAPLEN(EB_LOG_NATTS);
	hoff = MAXALIGN(hoff);
	if (data_len > MaxAllocSize - hoff)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too large")));

	if (EB_FAULT("reserve_at_emit") && early == 0)
		early = eb_sequencer_reserve(eb_log_sequencer(), 10);
	remember_level();
	row = eb_outbox_store_add(hoff + data_len);
	memset(row, 0, hoff + data_len);	/* reading tells padding by its zeroes */
	ItemPointerSetInvalid(&row->t_ctid);
	HeapTupleHeaderSetNatts(row, EB_LOG_NATTS);
	row->t_hoff = hoff;
	heap_fill_tuple(tupdesc, datums, isnull, (char *) row + hoff, data_len,
					&row->t_infomask, hasnull ? row->t_bits : NULL);
	if (generated)
		eb_outbox_store_generated(DatumGetUUIDP(values[EB_LOG_EVENT_ID - 1]));
}

/* Writes the outbox to the log; the transaction can still fail afterwards. */
static void
flush(void)
{
	int64		n = eb_outbox_store_count();
	EbOutboxReader reader;
	HeapTupleHeader row;
	uint32		len;
	int64		offset;

	eb_epoch_record();
	eb_log_append_begin(n);
	flushed_db = eb_log_sequencer();
	offset = early > 0 ? early : eb_sequencer_reserve(flushed_db, n);
	early = 0;
	eb_hold("after_reserve");

	eb_outbox_reader_init(&reader);
	while ((row = eb_outbox_reader_next(&reader, &len)) != NULL)
	{
		eb_log_append(offset++, row, len);
		if (eb_outbox_store_chunk_done(&reader))
			eb_log_append_flush();	/* the chunk's memory may be used again */
	}
	eb_log_append_end();
	eb_outbox_reader_end(&reader);
	eb_outbox_store_close();
	eb_hold("after_flush");
	if (EB_FAULT("slot_cleared_early"))
	{
		eb_sequencer_release(true);
		pg_usleep(1000);
	}
}

static void
before_commit(void)
{
	if (eb_outbox_store_count() > 0)
		flush();
	else
		eb_outbox_store_close();	/* all of it was rolled back */
	flushed = true;
}

static void
publish(EbDb *db, int64 n)
{
	eb_sequencer_release(true);
	pg_atomic_fetch_add_u64(&db->emitted, n);
	eb_wake_relay(db);
}

/*
 * The transaction has left the proc array: its offsets are safe to pass.  If it
 * made a segment, they are not yet: who passes them must find the segment, and
 * the invalidation that tells of it is sent after this.
 */
static void
after_commit(void)
{
	if (flushed_db == NULL)
		return;
	late_n = eb_outbox_store_count();
	if (eb_log_segment_made())
		late_db = flushed_db;
	else
		publish(flushed_db, late_n);
}

/* By now the invalidations are sent. */
static void
after_locks(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	EbDb	   *db = late_db;

	if (db == NULL || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	late_db = NULL;
	publish(db, late_n);
}

/* Its offsets become a gap; what others wrote behind it can go on. */
static void
after_abort(void)
{
	if (flushed_db == NULL)
		return;
	eb_sequencer_release(false);
	eb_wake_relay(flushed_db);
}

static void
before_prepare(void)
{
	if (eb_outbox_store_count() > 0 && !EB_FAULT("prepare_allowed"))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has emitted events"),
				 errhint("Commit it with COMMIT, or emit in a transaction of its own.")));
	eb_outbox_store_close();
}

static void
at_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			before_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			before_prepare();
			break;
		case XACT_EVENT_COMMIT:
			after_commit();
			forget();
			break;
		case XACT_EVENT_ABORT:
			after_abort();
			forget();
			break;
		case XACT_EVENT_PREPARE:
			forget();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;				/* a parallel worker cannot emit */
	}
}

/* As core's async.c: a committed level is its parent's, an aborted one never was. */
static void
at_subtransaction(SubXactEvent event, SubTransactionId id,
				  SubTransactionId parent, void *arg)
{
	int			level;

	if (nlevels == 0)
		return;
	level = GetCurrentTransactionNestLevel();
	if (event == SUBXACT_EVENT_COMMIT_SUB && levels[nlevels - 1].level == level)
	{
		if (level == 2 || (nlevels > 1 && levels[nlevels - 2].level == level - 1))
			nlevels--;
		else
			levels[nlevels - 1].level--;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB && !EB_FAULT("savepoint_kept"))
		while (nlevels > 0 && levels[nlevels - 1].level >= level)
			eb_outbox_store_truncate(&levels[--nlevels].mark);
}

void
eb_outbox_init(void)
{
	RegisterXactCallback(at_transaction, NULL);
	RegisterSubXactCallback(at_subtransaction, NULL);
	RegisterResourceReleaseCallback(after_locks, NULL);
}
