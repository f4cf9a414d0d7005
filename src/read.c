/*
 * read.c
 *	  SQL functions that read the log: eb_read, eb_get, eb_last_offset, eb_offset_at.
 *
 * A reader must never be shown what a crash could take back.  The safe offset is
 * given out only when the WAL is flushed up to it; eb_get alone may find an event
 * above it and flushes by itself.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "epoch.h"
#include "eventbus.h"
#include "filter.h"
#include "grant.h"
#include "log.h"
#include "shmem.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(eventbus_read);
PG_FUNCTION_INFO_V1(eventbus_get);
PG_FUNCTION_INFO_V1(eventbus_last_offset);
PG_FUNCTION_INFO_V1(eventbus_offset_at);

/* What eb_read is asked for. */
typedef struct EbReadRequest
{
	int64		from_offset;
	int32		max_events;
	EbTopics   *topics;			/* NULL = all */
	EbFilter   *filter;			/* NULL = all */
} EbReadRequest;

static void
refuse_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be NULL", name)));
}

/* The patterns of a text[]. */
static EbTopics *
compile_topics(ArrayType *array)
{
	int			n;
	const char **patterns = eb_topic_strings(array, &n);
	EbTopics   *topics = eb_topic_compile(n, patterns);

	eb_grant_check_topics(EB_PRIVILEGE_READ, n, patterns);
	return topics;
}

static void
get_request(FunctionCallInfo fcinfo, EbReadRequest *request)
{
	memset(request, 0, sizeof(*request));
	refuse_null(fcinfo, 0, "from_offset");
	refuse_null(fcinfo, 1, "max_events");
	request->from_offset = PG_GETARG_INT64(0);
	request->max_events = PG_GETARG_INT32(1);
	if (request->from_offset < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("from_offset must not be negative"),
				 errhint("Offsets begin at 1; 0 reads from the start of the log.")));
	if (request->max_events < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must be positive")));
	if (!PG_ARGISNULL(2))
		request->topics = compile_topics(PG_GETARG_ARRAYTYPE_P(2));
	else
	{
		const char *all = ">";

		eb_grant_check_topics(EB_PRIVILEGE_READ, 1, &all);
	}
	if (!PG_ARGISNULL(3))
		request->filter = eb_filter_compile(PG_GETARG_JSONPATH_P(3));
}

static bool
wanted(const EbReadRequest *request, TupleTableSlot *slot, MemoryContext scratch)
{
	MemoryContext oldcontext;
	bool		match;
	bool		isnull;
	text	   *type;

	if (request->topics != NULL)
	{
		type = DatumGetTextPP(slot_getattr(slot, EB_LOG_TYPE, &isnull));
		if (!eb_topic_match(request->topics, VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type)))
			return false;
	}
	if (request->filter == NULL)
		return true;
	oldcontext = MemoryContextSwitchTo(scratch);
	match = eb_filter_match(request->filter, slot, NULL);
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(scratch);
	return match;
}

/* Puts the wanted events into the result. */
static void
read_events(const EbReadRequest *request, int64 safe, Snapshot snapshot,
			ReturnSetInfo *rsinfo)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "eventbus filter",
												  ALLOCSET_DEFAULT_SIZES);
	EbLogScan  *scan = eb_log_scan_begin(request->from_offset, safe, snapshot);
	int			n = 0;
	TupleTableSlot *slot;

	while (n < request->max_events && (slot = eb_log_scan_next(scan)) != NULL)
	{
		Datum		values[EB_EVENT_NATTS];
		bool		nulls[EB_EVENT_NATTS];

		CHECK_FOR_INTERRUPTS();
		if (!wanted(request, slot, scratch))
			continue;
		eb_log_event_datums(slot, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		n++;
	}
	eb_log_scan_end(scan);
	MemoryContextDelete(scratch);
}

/* Events from from_offset upwards, never past the safe offset. */
Datum
eventbus_read(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EbReadRequest request;
	Snapshot	snapshot;
	int64		safe;

	eb_shmem_require();
	get_request(fcinfo, &request);
	InitMaterializedSRF(fcinfo, 0);
	safe = eb_log_safe_snapshot(&snapshot);
	read_events(&request, safe, snapshot, rsinfo);
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

/* The event with this id, or NULL. */
Datum
eventbus_get(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot;
	TupleTableSlot *slot;
	TupleDesc	tupdesc;
	Datum		values[EB_EVENT_NATTS];
	bool		nulls[EB_EVENT_NATTS];
	Datum		result = (Datum) 0;

	eb_shmem_require();
	refuse_null(fcinfo, 0, "event_id");
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = eb_log_find(PG_GETARG_UUID_P(0), snapshot);
	if (slot != NULL)
	{
		text	   *type;
		bool		isnull;

		type = DatumGetTextPP(slot_getattr(slot, EB_LOG_TYPE, &isnull));
		eb_grant_check_read(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type));
		eb_log_event_datums(slot, values, nulls);
		eb_log_make_durable(DatumGetInt64(values[0]));
		result = HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
		ExecDropSingleTupleTableSlot(slot);
	}
	else
		fcinfo->isnull = true;
	UnregisterSnapshot(snapshot);
	return result;
}

/* The safe offset, 0 while the log is empty. */
Datum
eventbus_last_offset(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot;
	int64		safe;

	eb_shmem_require();
	if (RecoveryInProgress() || !eb_epoch_may_run(eb_shmem_db()))
	{
		safe = eb_log_safe_snapshot(&snapshot);
		UnregisterSnapshot(snapshot);
	}
	else
		safe = eb_sequencer_safe(eb_log_sequencer());
	PG_RETURN_INT64(safe);
}

/* The first offset that was committed at or after a time, or a lower one. */
Datum
eventbus_offset_at(PG_FUNCTION_ARGS)
{
	eb_shmem_require();
	refuse_null(fcinfo, 0, "at");
	PG_RETURN_INT64(eb_log_offset_at(PG_GETARG_TIMESTAMPTZ(0)));
}
