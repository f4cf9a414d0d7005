/*
 * dlq.c
 *	  The SQL side of the dead letters: record, replay, purge.
 *
 * Letters are selected and locked through SPI as the extension's owner, SKIP
 * LOCKED, so that concurrent replays share the work and put each letter back
 * once.  Rights are the caller's: for a letter of a subscription he must own it,
 * for a foreign one he must have the rights of the role that registered its
 * source, and the registered function runs as himself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "dlq.h"
#include "duration.h"
#include "log.h"
#include "queue.h"
#include "reason.h"

PG_FUNCTION_INFO_V1(eventbus_dead_letter);
PG_FUNCTION_INFO_V1(eventbus_dlq_source);
PG_FUNCTION_INFO_V1(eventbus_dlq_replay);
PG_FUNCTION_INFO_V1(eventbus_dlq_purge);

/* Columns of the letters that we select. */
enum
{
	LETTER_ID = 1,
	LETTER_SOURCE,
	LETTER_SUBSCRIPTION,
	LETTER_OFFSET,
	LETTER_HISTORY,
	LETTER_REPLAYS,
	LETTER_FIRST_FAILED_AT,
	LETTER_ROW
};

#define LETTER_COLUMNS "l.id, l.source, l.subscription, l.\"offset\", l.history, l.replays, l.first_failed_at, l"

#define SELECTORS 7

static const char *const selector_sql[SELECTORS] = {
	"l.id = ANY ($1)", "l.subscription = $2", "l.source = $3", "l.reason::text = $4",
	"l.type = $5", "l.dead_at < $6", "l.replay_at <= pg_catalog.clock_timestamp()"
};

static void
require_writable(const char *what)
{
	(void) eb_shmem_db();
	PreventCommandDuringRecovery(what);
	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
}

/* The WHERE clause of a selection, and its arguments. */
static char *
selection_sql(const EbDlqSelection *s, Datum *args, char *nulls)
{
	StringInfoData sql;
	bool		given[SELECTORS] = {s->ids != NULL, s->subscription != NULL, s->source != NULL,
		s->reason != NULL, s->type != NULL, s->dead_before != 0, s->due_only};

	initStringInfo(&sql);
	appendStringInfoString(&sql, "FROM eventbus.dead_letter l WHERE true");
	for (int i = 0; i < SELECTORS; i++)
		if (given[i])
			appendStringInfo(&sql, " AND %s", selector_sql[i]);
	for (int i = 0; i < SELECTORS - 1; i++)
		nulls[i] = given[i] ? ' ' : 'n';
	args[0] = PointerGetDatum(s->ids);
	args[1] = s->subscription ? CStringGetTextDatum(s->subscription) : (Datum) 0;
	args[2] = s->source ? CStringGetTextDatum(s->source) : (Datum) 0;
	args[3] = s->reason ? CStringGetTextDatum(s->reason) : (Datum) 0;
	args[4] = s->type ? CStringGetTextDatum(s->type) : (Datum) 0;
	args[5] = TimestampTzGetDatum(s->dead_before);
	return sql.data;
}

static const Oid selection_types[SELECTORS - 1] = {
	INT8ARRAYOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID
};

/* Runs a statement on a selection with the latest snapshot; SPI is connected. */
static uint64
run_selection(const char *sql, Datum *args, char *nulls, int expected)
{
	SPIPlanPtr	plan = SPI_prepare(sql, lengthof(selection_types), (Oid *) selection_types);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			rc;

	if (plan == NULL)
		elog(ERROR, "could not prepare: %s", sql);
	rc = SPI_execute_snapshot(plan, args, nulls, snapshot, InvalidSnapshot, false, true, 0);
	if (rc != expected)
		elog(ERROR, "SPI returned %s", SPI_result_code_string(rc));
	UnregisterSnapshot(snapshot);
	return SPI_processed;
}

/* The function registered for a source, and who may use it. */
static Oid
source_function(const char *source, Oid user)
{
	Oid			types[1] = {TEXTOID};
	Datum		args[1] = {CStringGetTextDatum(source)};
	bool		isnull;
	Oid			owner;
	char	   *name;
	Oid			arg;

	if (SPI_execute_with_args("SELECT replay, owner FROM eventbus.dead_letter_source WHERE source = $1",
							  1, types, args, NULL, true, 1) != SPI_OK_SELECT || SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("dead letter source \"%s\" has no replay function", source),
				 errhint("Register one with eb_dlq_source.")));
	name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	if (!has_privs_of_role(user, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for dead letter source \"%s\"", source),
				 errhint("Become a member of the role that registered it.")));
	arg = get_rel_type_id(get_relname_relid("dead_letter", eb_catalog()->schema));
	return LookupFuncName(eb_qualified_name_list(name), 1, &arg, false);
}

/* Puts a foreign letter back: the registered function, as the caller. */
static void
replay_foreign(HeapTuple tuple, TupleDesc desc, const char *source, Oid user)
{
	bool		isnull;
	Datum		letter = SPI_getbinval(tuple, desc, LETTER_ROW, &isnull);
	Oid			function = source_function(source, user);
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	flinfo;
	Oid			owner;
	int			sec;

	GetUserIdAndSecContext(&owner, &sec);
	SetUserIdAndSecContext(user, sec);
	if (eb_function_aclcheck(function, user) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the replay function of \"%s\"", source),
				 errhint("GRANT EXECUTE on it to the role that replays.")));
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = letter;
	fcinfo->args[0].isnull = false;
	(void) FunctionCallInvoke(fcinfo);	/* whose result may be NULL */
	SetUserIdAndSecContext(owner, sec);
}

/* Whether the log still has an event. */
static bool
in_log(int64 offset)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EbLogScan  *scan = eb_log_scan_begin(offset, offset, snapshot);
	bool		found = (eb_log_scan_next(scan) != NULL);

	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Puts an event back into its subscription's queue; false if that, or the event,
 * is gone, or if the subscription does not want automatic replays any more.
 */
static bool
replay_event(EbQueue *queue, HeapTuple tuple, TupleDesc desc, Oid user, bool automatic)
{
	bool		isnull;
	char	   *name = SPI_getvalue(tuple, desc, LETTER_SUBSCRIPTION);
	EbSubscription *sub = eb_subscription_if_exists(name);
	EbDelivery	d = {0};

	if (sub == NULL || (automatic && sub->dlq_replay_after < 0))
		return false;
	if (!automatic)
		eb_subscription_check_owner_as(sub, user);
	d.subscription_id = sub->id;
	d.first_offset = d.last_offset =
		DatumGetInt64(SPI_getbinval(tuple, desc, LETTER_OFFSET, &isnull));
	if (!in_log(d.first_offset) || !eb_subscription_hold(sub->id, !automatic))
		return false;
	d.lane = EB_LANE_RETRY;	/* due now: before what waits in the lanes */
	d.position = d.due_at = GetCurrentTimestamp();
	d.events = 1;
	d.replayed = true;
	d.replays = DatumGetInt32(SPI_getbinval(tuple, desc, LETTER_REPLAYS, &isnull)) + 1;
	d.history = DatumGetJsonbPCopy(SPI_getbinval(tuple, desc, LETTER_HISTORY, &isnull));
	eb_queue_insert(queue, &d);
	eb_lane_lower(sub->shared, sub->id, d.lane, d.position);
	eb_queue_released(sub->shared, &d);
	return true;
}

/* Runs a statement on one letter; $1 is its id. */
static void
change_letter(HeapTuple tuple, TupleDesc desc, const char *sql)
{
	Oid			types[1] = {INT8OID};
	bool		isnull;
	Datum		args[1] = {SPI_getbinval(tuple, desc, LETTER_ID, &isnull)};

	if (SPI_execute_with_args(sql, 1, types, args, NULL, false, 0) < 0)
		elog(ERROR, "could not change a dead letter");
}

/*
 * Puts one letter back.  What cannot be put back stays as it is; if the relay
 * came for it, without another date, so that it does not stand in the others' way.
 */
static bool
replay_letter(EbQueue *queue, HeapTuple tuple, TupleDesc desc, Oid user, bool automatic)
{
	char	   *source = SPI_getvalue(tuple, desc, LETTER_SOURCE);
	bool		replayed = true;

	if (strcmp(source, EB_DLQ_SOURCE) != 0)
		replay_foreign(tuple, desc, source, user);
	else
		replayed = replay_event(queue, tuple, desc, user, automatic);
	if (replayed)
		change_letter(tuple, desc, "DELETE FROM eventbus.dead_letter WHERE id = $1");
	else if (automatic)
		change_letter(tuple, desc, "UPDATE eventbus.dead_letter SET replay_at = NULL WHERE id = $1");
	return replayed;
}

/* How many of these letters would be put back; errors as putting back would. */
static int64
count_allowed(SPITupleTable *letters, uint64 n, Oid user)
{
	int64		allowed = 0;

	for (uint64 i = 0; i < n; i++)
	{
		char	   *source = SPI_getvalue(letters->vals[i], letters->tupdesc, LETTER_SOURCE);
		char	   *name = SPI_getvalue(letters->vals[i], letters->tupdesc, LETTER_SUBSCRIPTION);
		EbSubscription *sub;

		if (strcmp(source, EB_DLQ_SOURCE) != 0)
			(void) source_function(source, user);
		else if ((sub = eb_subscription_if_exists(name)) != NULL)
			eb_subscription_check_owner_as(sub, user);
		else
			continue;
		allowed++;
	}
	return allowed;
}

/*
 * Puts the selected letters back and returns how many (with dry_run: how many it
 * would).  A letter whose subscription is gone stays where it is.
 */
int64
eb_dlq_replay_selected(const EbDlqSelection *s)
{
	EbOwnerScope scope;
	Oid			user = GetUserId();
	Datum		args[SELECTORS];
	char		nulls[SELECTORS];
	char	   *from;
	char	   *sql;
	int64		replayed = 0;
	SPITupleTable *letters;
	uint64		n;

	eb_owner_begin(&scope);
	SPI_connect();
	from = selection_sql(s, args, nulls);
	sql = psprintf("SELECT " LETTER_COLUMNS " %s ORDER BY l.%s%s%s", from,
				   s->due_only ? "replay_at" : "id",
				   s->max_rows > 0 ? psprintf(" LIMIT %d", s->max_rows) : "",
				   s->dry_run ? "" : " FOR UPDATE SKIP LOCKED");
	n = run_selection(sql, args, nulls, SPI_OK_SELECT);
	letters = SPI_tuptable;
	if (s->dry_run)
		replayed = count_allowed(letters, n, user);
	else if (n > 0)
	{
		EbQueue    *queue = eb_queue_open(RowExclusiveLock);

		for (uint64 i = 0; i < n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (replay_letter(queue, letters->vals[i], letters->tupdesc, user, s->due_only))
				replayed++;
		}
		eb_queue_close(queue);
	}
	SPI_finish();
	eb_owner_end(&scope);
	return replayed;
}

static char *
text_arg(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static void
require_selector(bool given, const char *what)
{
	if (!given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs at least one selector", what),
				 errhint("Name the ids, the subscription or the source; nothing does not mean everything.")));
}

/* eb_dlq_replay(ids, subscription, source, reason, type, max_rows, dry_run) */
Datum
eventbus_dlq_replay(PG_FUNCTION_ARGS)
{
	EbDlqSelection s = {0};

	require_writable("eb_dlq_replay");
	s.ids = PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0);
	s.subscription = text_arg(fcinfo, 1);
	s.source = text_arg(fcinfo, 2);
	s.reason = PG_ARGISNULL(3) ? NULL : eb_reason_label(PG_GETARG_OID(3));
	s.type = text_arg(fcinfo, 4);
	if (!PG_ARGISNULL(5))
	{
		s.max_rows = PG_GETARG_INT32(5);
		if (s.max_rows < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("max_rows must be positive"),
					 errhint("Leave it out to replay all that are selected.")));
	}
	s.dry_run = !PG_ARGISNULL(6) && PG_GETARG_BOOL(6);
	require_selector(s.ids || s.subscription || s.source || s.reason || s.type, "eb_dlq_replay");
	if (s.subscription != NULL)
		eb_subscription_check_owner(eb_subscription_by_name(s.subscription));
	PG_RETURN_INT64(eb_dlq_replay_selected(&s));
}

/* Errors unless the caller may delete every selected letter. */
static void
check_purge(const char *from, Datum *args, char *nulls, Oid user)
{
	uint64		n = run_selection(psprintf("SELECT DISTINCT l.source, l.subscription %s", from),
								  args, nulls, SPI_OK_SELECT);
	SPITupleTable *found = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
	{
		char	   *source = SPI_getvalue(found->vals[i], found->tupdesc, 1);
		char	   *name = SPI_getvalue(found->vals[i], found->tupdesc, 2);
		EbSubscription *sub = name ? eb_subscription_if_exists(name) : NULL;

		if (sub != NULL)
			eb_subscription_check_owner_as(sub, user);
		else if (has_privs_of_role(user, eb_catalog()->owner))
			continue;			/* even if the source has no function any more */
		else if (strcmp(source, EB_DLQ_SOURCE) != 0)
			(void) source_function(source, user);
		else
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for dead letters of subscription \"%s\"", name),
					 errhint("It does not exist any more; only the extension's owner may purge its letters.")));
	}
}

/* eb_dlq_purge(ids, subscription, source, older_than) */
Datum
eventbus_dlq_purge(PG_FUNCTION_ARGS)
{
	EbDlqSelection s = {0};
	EbOwnerScope scope;
	Oid			user = GetUserId();
	Datum		args[SELECTORS];
	char		nulls[SELECTORS];
	char	   *from;
	uint64		purged;

	require_writable("eb_dlq_purge");
	s.ids = PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0);
	s.subscription = text_arg(fcinfo, 1);
	s.source = text_arg(fcinfo, 2);
	if (!PG_ARGISNULL(3))
		s.dead_before = GetCurrentTimestamp() -
			eb_duration_us(PG_GETARG_INTERVAL_P(3), "older_than", 0);
	require_selector(s.ids || s.subscription || s.source || s.dead_before, "eb_dlq_purge");

	eb_owner_begin(&scope);
	SPI_connect();
	from = selection_sql(&s, args, nulls);
	check_purge(from, args, nulls, user);
	purged = run_selection(psprintf("DELETE %s", from), args, nulls, SPI_OK_DELETE);
	SPI_finish();
	eb_owner_end(&scope);
	PG_RETURN_INT64(purged);
}

static void
require_text(FunctionCallInfo fcinfo, int arg, const char *argument)
{
	if (PG_ARGISNULL(arg) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(arg)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null or empty", argument),
				 errhint("Pass a value for it.")));
}

/* The source argument, which must not be the bus's own; errors with 22023. */
static Datum
foreign_source(FunctionCallInfo fcinfo)
{
	require_text(fcinfo, 0, "source");
	if (strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), EB_DLQ_SOURCE) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("source \"%s\" is reserved for the bus's own events", EB_DLQ_SOURCE),
				 errhint("Name the system that the job belongs to.")));
	return PG_GETARG_DATUM(0);
}

/* eb_dead_letter(source, type, payload, reason, error, attempts, headers) */
Datum
eventbus_dead_letter(PG_FUNCTION_ARGS)
{
	EbOwnerScope scope;
	Oid			types[7] = {TEXTOID, TEXTOID, JSONBOID, TEXTOID, TEXTOID, INT4OID, JSONBOID};
	Datum		args[7];
	char		nulls[8] = "       ";
	bool		isnull;
	int64		id;

	require_writable("eb_dead_letter");
	args[0] = foreign_source(fcinfo);
	require_text(fcinfo, 1, "type");
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(5) || PG_GETARG_INT32(5) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload, reason and attempts must not be null, nor attempts negative"),
				 errhint("Pass '{}' for an empty payload.")));
	args[1] = PG_GETARG_DATUM(1);
	args[2] = PG_GETARG_DATUM(2);
	args[3] = CStringGetTextDatum(eb_reason_label(PG_GETARG_OID(3)));
	args[4] = PG_GETARG_DATUM(4);
	nulls[4] = PG_ARGISNULL(4) ? 'n' : ' ';
	args[5] = PG_GETARG_DATUM(5);
	args[6] = PG_GETARG_DATUM(6);
	nulls[6] = PG_ARGISNULL(6) ? 'n' : ' ';

	eb_owner_begin(&scope);
	SPI_connect();
	if (SPI_execute_with_args(psprintf("INSERT INTO eventbus.dead_letter (source, type, payload, reason, error, "
									   "attempts, headers, first_failed_at, dead_at) VALUES ($1, $2, $3, $4::%s, $5, $6, $7, "
									   "pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp()) RETURNING id",
									   quote_qualified_identifier(get_namespace_name(eb_catalog()->api_schema),
																  "eb_reason")),
							  7, types, args, nulls, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write a dead letter");
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	eb_owner_end(&scope);
	PG_RETURN_INT64(id);
}

/* The schema-qualified name of a replay function, checked. */
static char *
checked_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			letter = get_rel_type_id(get_relname_relid("dead_letter", eb_catalog()->schema));
	Form_pg_proc form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("replay function does not exist"),
				 errhint("Create it before registering it.")));
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->pronargs != 1 || form->proargtypes.values[0] != letter || form->proretset ||
		form->prokind != PROKIND_FUNCTION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("function %s cannot replay dead letters", format_procedure(function)),
				 errhint("It must take one argument of type eventbus.dead_letter.")));
	name = quote_qualified_identifier(get_namespace_name(form->pronamespace),
									  NameStr(form->proname));
	ReleaseSysCache(tuple);
	return name;
}

/* eb_dlq_source(source, replay) */
Datum
eventbus_dlq_source(PG_FUNCTION_ARGS)
{
	EbOwnerScope scope;
	Oid			user = GetUserId();
	Oid			types[3] = {TEXTOID, TEXTOID, REGROLEOID};
	Datum		args[3];
	const char *sql = "DELETE FROM eventbus.dead_letter_source WHERE source = $1";
	char		nulls[4] = "   ";
	bool		isnull;

	require_writable("eb_dlq_source");
	args[0] = foreign_source(fcinfo);
	nulls[1] = PG_ARGISNULL(1) ? 'n' : ' ';
	args[1] = PG_ARGISNULL(1) ? (Datum) 0 : CStringGetTextDatum(checked_function(PG_GETARG_OID(1)));
	args[2] = ObjectIdGetDatum(user);
	if (!PG_ARGISNULL(1))
		sql = "INSERT INTO eventbus.dead_letter_source VALUES ($1, $2, $3) "
			"ON CONFLICT (source) DO UPDATE SET replay = excluded.replay";

	eb_owner_begin(&scope);
	SPI_connect();
	if (SPI_execute_with_args("SELECT owner FROM eventbus.dead_letter_source WHERE source = $1 FOR UPDATE",
							  1, types, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look a source up");
	if (SPI_processed > 0 &&
		!has_privs_of_role(user, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
																SPI_tuptable->tupdesc, 1, &isnull))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for this dead letter source"),
				 errhint("Become a member of the role that registered it.")));
	if (SPI_execute_with_args(sql, PG_ARGISNULL(1) ? 1 : 3, types, args, nulls, false, 0) < 0)
		elog(ERROR, "could not change a source");
	SPI_finish();
	eb_owner_end(&scope);
	PG_RETURN_VOID();
}
