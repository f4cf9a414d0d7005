/*
 * monitor.c
 *	  The shared state as SQL rows; views and eb_health() are made of them.
 *
 * Without shared_preload_libraries the functions return what there is, namely
 * no rows, so that eb_health() can say what is wrong.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(eventbus_stat_server);
PG_FUNCTION_INFO_V1(eventbus_stat_database);
PG_FUNCTION_INFO_V1(eventbus_stat_subscription);
PG_FUNCTION_INFO_V1(eventbus_stat_waiting);

#define STAT_SERVER_COLS		3
#define STAT_DATABASE_COLS		16
#define STAT_SUBSCRIPTION_COLS	14
#define STAT_WAITING_COLS		2

static const char *const state_names[] = {
	[EB_RELAY_UNKNOWN] = "unknown",
	[EB_RELAY_ABSENT] = "absent",
	[EB_RELAY_STARTING] = "starting",
	[EB_RELAY_RUNNING] = "running",
	[EB_RELAY_FAILED] = "failed",
};

/* The columns are those of our version only. */
static void
begin_rows(FunctionCallInfo fcinfo)
{
	(void) eb_catalog();
	InitMaterializedSRF(fcinfo, 0);
}

static void
put_time(Datum *value, bool *isnull, TimestampTz at)
{
	*value = TimestampTzGetDatum(at);
	*isnull = (at == 0);
}

/* eventbus.stat_server(): preloaded, launcher_pid, no_worker_slot */
Datum
eventbus_stat_server(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[STAT_SERVER_COLS] = {0};
	bool		nulls[STAT_SERVER_COLS] = {0};

	begin_rows(fcinfo);
	values[0] = BoolGetDatum(eb_shmem != NULL);
	nulls[1] = nulls[2] = true;
	if (eb_shmem != NULL)
	{
		pid_t		pid = eb_shmem_launcher_pid();

		values[1] = Int32GetDatum(pid);
		nulls[1] = (pid == 0);
		values[2] = BoolGetDatum(eb_shmem_stat_no_worker_slot());
		nulls[2] = false;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* eventbus.stat_database(): a row for each database that has a slot */
Datum
eventbus_stat_database(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EbDbStat   *stats = NULL;
	int			n = 0;

	begin_rows(fcinfo);
	if (eb_shmem != NULL)
		stats = eb_shmem_stat_dbs(&n);
	for (int i = 0; i < n; i++)
	{
		const EbDbStat *s = &stats[i];
		Datum		values[STAT_DATABASE_COLS] = {0};
		bool		nulls[STAT_DATABASE_COLS] = {0};

		values[0] = ObjectIdGetDatum(s->dboid);
		values[1] = CStringGetTextDatum(state_names[s->relay.state]);
		values[2] = Int32GetDatum(s->relay.pid);
		nulls[2] = (s->relay.pid == 0);
		put_time(&values[3], &nulls[3], s->relay.started_at);
		put_time(&values[4], &nulls[4], s->relay.restart_at);
		values[5] = Int32GetDatum(s->relay.failures);
		values[6] = Int32GetDatum(s->relay.holders);
		values[7] = CStringGetTextDatum(s->relay.error);
		nulls[7] = (s->relay.error[0] == '\0');
		values[8] = Int64GetDatum(s->safe_offset);
		values[9] = Int64GetDatum(s->next_offset - 1);
		nulls[8] = nulls[9] = !s->sequenced;
		values[10] = Int64GetDatum(s->routed);
		values[11] = Int64GetDatum(s->passes);
		put_time(&values[12], &nulls[12], s->last_pass_at);
		values[13] = Int64GetDatum(s->emitted);
		values[14] = Int64GetDatum(s->duplicates);
		values[15] = BoolGetDatum(s->dboid == MyDatabaseId);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* As bigint[]. */
static Datum
latency_counts(const EbLatency *latency)
{
	Datum		elems[EB_LATENCY_BUCKETS];

	for (int i = 0; i < EB_LATENCY_BUCKETS; i++)
		elems[i] = Int64GetDatum(latency->counts[i]);
	return PointerGetDatum(construct_array(elems, EB_LATENCY_BUCKETS, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* eventbus.stat_subscription(): the counters of this database's subscriptions */
Datum
eventbus_stat_subscription(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EbSubStat  *stats = NULL;
	int			n = 0;

	begin_rows(fcinfo);
	if (eb_shmem != NULL)
		stats = eb_shmem_stat_subs(MyDatabaseId, &n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[STAT_SUBSCRIPTION_COLS];
		bool		nulls[STAT_SUBSCRIPTION_COLS] = {0};

		values[0] = Int32GetDatum(stats[i].id);
		values[1] = Int32GetDatum(stats[i].waiters);
		values[2] = Int64GetDatum(stats[i].routed);
		values[3] = Int64GetDatum(stats[i].fetched);
		values[4] = Int64GetDatum(stats[i].acked);
		values[5] = Int64GetDatum(stats[i].nacked);
		values[6] = Int64GetDatum(stats[i].expired);
		values[7] = Int64GetDatum(stats[i].retried);
		values[8] = Int64GetDatum(stats[i].dead);
		values[9] = Int64GetDatum(stats[i].filter_errors);
		values[10] = Float8GetDatum(stats[i].routed_rate);
		values[11] = Float8GetDatum(stats[i].acked_rate);
		values[12] = latency_counts(&stats[i].latency);
		values[13] = Float8GetDatum(stats[i].latency.sum_us / 1e6);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* eventbus.stat_waiting(): the sessions that sleep in eb_fetch */
Datum
eventbus_stat_waiting(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EbWaitStat *stats = NULL;
	int			n = 0;

	begin_rows(fcinfo);
	if (eb_shmem != NULL)
		stats = eb_shmem_stat_waits(MyDatabaseId, &n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[STAT_WAITING_COLS];
		bool		nulls[STAT_WAITING_COLS] = {0};

		values[0] = Int32GetDatum(stats[i].pid);
		values[1] = Int32GetDatum(stats[i].subscription_id);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
