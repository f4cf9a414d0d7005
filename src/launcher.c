/*
 * launcher.c
 *	  The static worker that keeps one relay per database.
 *
 * It is connected to no database, so it is in nobody's way, and can only see
 * which databases there are.  Whether one has the extension is for a relay to
 * find out; one that finds nothing leaves at once, and the launcher remembers.
 * CREATE EXTENSION, a first emit and a new oid in pg_database correct that.
 *
 * What must be seen from outside is in shared memory (shmem_worker.c); a row here
 * is what this process alone needs: the handle of the worker it has registered,
 * and how often that failed.  A launcher that starts anew begins with no rows and
 * finds running relays by their slots.
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "guc.h"
#include "launcher.h"
#include "shmem.h"
#include "worker.h"

#define LIBRARY				"eventbus"
#define LAUNCHER_RESTART_S	3
#define SCAN_EVERY_MS		2000
#define PROBE_PATIENCE_MS	2000	/* before the next database is probed */
#define BACKOFF_FIRST_MS	100
#define BACKOFF_FACTOR		5
#define BACKOFF_MAX_MS		60000
#define HEALTHY_AFTER_MS	10000	/* a relay that ran so long was no failure */

typedef struct EbLaunch
{
	Oid			dboid;			/* hash key */
	bool		listed;			/* in the last scan of pg_database */
	bool		absent;			/* has no slot, and its probe found nothing */
	BackgroundWorkerHandle *handle; /* of a worker that has not ended */
	TimestampTz registered_at;
	TimestampTz restart_at;
	int			failures;		/* in a row */
	NameData	name;
} EbLaunch;

static HTAB *launches = NULL;
static bool no_worker_slot = false;
static bool announced = false;	/* CREATE or ALTER EXTENSION in this transaction */

PG_FUNCTION_INFO_V1(eventbus_announce);

/* Notes every database that can be connected to in the hash. */
static void
scan_databases(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	eb_worker_begin("looking for databases");
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		EbLaunch   *launch;
		bool		found;

		/* datconnlimit -2: a DROP DATABASE or CREATE DATABASE that broke off */
		if (!form->datallowconn || form->datconnlimit == -2)
			continue;
		launch = hash_search(launches, &form->oid, HASH_ENTER, &found);
		if (!found)
		{
			memset(launch, 0, sizeof(*launch));
			launch->dboid = form->oid;
		}
		launch->listed = true;
		launch->name = form->datname;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	eb_worker_commit();
}

/* True if the database exists, though it may refuse connections. */
static bool
database_exists(Oid dboid)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	bool		exists = false;

	eb_worker_begin("looking for databases");
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (!exists && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		exists = ((Form_pg_database) GETSTRUCT(tuple))->oid == dboid;
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	eb_worker_commit();
	return exists;
}

/*
 * Brings the hash up to date, and frees the slots of databases that are gone.
 * The slots are read before the databases: who has a slot was committed by then.
 */
static void
scan(void)
{
	Oid		   *slots = palloc(eb_shmem->ndbs * sizeof(Oid));
	int			nslots = eb_shmem_dboids(slots);
	HASH_SEQ_STATUS status;
	EbLaunch   *launch;

	hash_seq_init(&status, launches);
	while ((launch = hash_seq_search(&status)) != NULL)
		launch->listed = false;
	scan_databases();

	for (int i = 0; i < nslots; i++)
	{
		launch = hash_search(launches, &slots[i], HASH_FIND, NULL);
		if ((launch == NULL || !launch->listed) && !database_exists(slots[i]))
			eb_shmem_db_free(slots[i]);
	}
	hash_seq_init(&status, launches);
	while ((launch = hash_seq_search(&status)) != NULL)
		if (!launch->listed && launch->handle == NULL)
			hash_search(launches, &launch->dboid, HASH_REMOVE, NULL);
}

/* Counts a failure and decides when to try again. */
static void
note_failure(EbLaunch *launch, const EbRelayInfo *info, TimestampTz now)
{
	TimestampTz since = Max(launch->registered_at, info->started_at);
	int64		delay = 0;

	if (TimestampDifferenceExceeds(since, now, HEALTHY_AFTER_MS))
		launch->failures = 0;
	else
	{
		delay = BACKOFF_FIRST_MS;
		for (int i = 0; i < launch->failures && delay < BACKOFF_MAX_MS; i++)
			delay *= BACKOFF_FACTOR;
		delay = Min(delay, BACKOFF_MAX_MS);
	}
	launch->failures++;
	launch->restart_at = now + delay * 1000;
	eb_shmem_relay_failed(launch->dboid, launch->failures, launch->restart_at);
}

/* Looks how the worker that was registered fares. */
static void
follow_worker(EbLaunch *launch, TimestampTz now)
{
	EbRelayInfo info;
	pid_t		pid;

	if (launch->handle != NULL &&
		GetBackgroundWorkerPid(launch->handle, &pid) == BGWH_STOPPED)
	{
		eb_shmem_relay_read(launch->dboid, &info);	/* what it has left behind */
		pfree(launch->handle);
		launch->handle = NULL;
		eb_shmem_probe_end(launch->dboid);
		if (info.state == EB_RELAY_ABSENT)
		{
			launch->absent = !info.slotted;
			launch->failures = 0;
		}
		else if (info.pid == 0 && info.state != EB_RELAY_UNKNOWN)
			note_failure(launch, &info, now);
	}

	eb_shmem_relay_read(launch->dboid, &info);
	if (info.pid != 0 && launch->failures > 0 &&
		TimestampDifferenceExceeds(info.started_at, now, HEALTHY_AFTER_MS))
	{
		if (launch->failures > 1)
			ereport(LOG,
					(errmsg("eventbus relay of database \"%s\" runs again after %d failures",
							NameStr(launch->name), launch->failures)));
		launch->failures = 0;
		eb_shmem_relay_healthy(launch->dboid);
	}
}

/* True if a relay for the database is to be started now. */
static bool
is_due(EbLaunch *launch, TimestampTz now)
{
	EbRelayInfo info;

	if (!launch->listed || launch->handle != NULL)
		return false;
	eb_shmem_relay_read(launch->dboid, &info);
	if (info.slotted)
		launch->absent = false;
	if (launch->absent || info.pid != 0 || info.holders > 0 ||
		info.state == EB_RELAY_ABSENT)
		return false;

	/* the last comparison is for a clock that was set back */
	return (info.slotted && info.state == EB_RELAY_UNKNOWN) ||
		launch->restart_at <= now ||
		launch->restart_at > now + BACKOFF_MAX_MS * INT64CONST(1000);
}

/* Registers the worker; false if the server has no slot for it. */
static bool
register_relay(EbLaunch *launch)
{
	BackgroundWorker worker;
	MemoryContext old;
	bool		ok;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, LIBRARY, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "eb_relay_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, BGW_MAXLEN, "eventbus relay of database %u", launch->dboid);
	strlcpy(worker.bgw_type, "eventbus relay", BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(launch->dboid);
	worker.bgw_notify_pid = MyProcPid;

	old = MemoryContextSwitchTo(TopMemoryContext);
	ok = RegisterDynamicBackgroundWorker(&worker, &launch->handle);
	MemoryContextSwitchTo(old);
	return ok;
}

/* Starts a relay; false if the server has no slot for a worker. */
static bool
start_relay(EbLaunch *launch, TimestampTz now)
{
	if (!eb_shmem_relay_starting(launch->dboid))
		return true;
	if (register_relay(launch))
	{
		launch->registered_at = now;
		return true;
	}
	launch->handle = NULL;
	eb_shmem_relay_failed(launch->dboid, launch->failures, now);
	eb_shmem_probe_end(launch->dboid);
	return false;
}

/* Says once that worker slots ran out, and once that there are some again. */
static void
note_worker_slots(bool exhausted)
{
	if (exhausted == no_worker_slot)
		return;
	no_worker_slot = exhausted;
	eb_shmem_worker_slots(exhausted);
	if (exhausted)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free for an eventbus relay"),
				 errdetail("Events are stored, but not delivered, in databases without a relay."),
				 errhint("Raise max_worker_processes (now %d) by one per database that uses eventbus, and one more, and restart the server; until then the launcher keeps trying.",
						 max_worker_processes)));
	else
		ereport(LOG,
				(errmsg("background worker slots for eventbus relays are free again")));
}

/*
 * Starts what is due.  Databases with a slot go first; the others are probed one
 * after the other, so that many of them do not take all worker slots at once.
 */
static void
start_due(TimestampTz now)
{
	HASH_SEQ_STATUS status;
	EbLaunch   *launch;
	EbLaunch   *probe = NULL;
	bool		probing = false;
	bool		tried = false;
	bool		exhausted = false;

	hash_seq_init(&status, launches);
	while ((launch = hash_seq_search(&status)) != NULL)
	{
		EbRelayInfo info;

		eb_shmem_relay_read(launch->dboid, &info);
		if (!info.slotted && launch->handle != NULL &&
			!TimestampDifferenceExceeds(launch->registered_at, now, PROBE_PATIENCE_MS))
			probing = true;
		if (exhausted || !is_due(launch, now))
			continue;
		if (!info.slotted)
		{
			if (probe == NULL || launch->restart_at < probe->restart_at)
				probe = launch;
			continue;
		}
		tried = true;
		exhausted = !start_relay(launch, now);
	}
	if (probe != NULL && !probing && !exhausted)
	{
		tried = true;
		exhausted = !start_relay(probe, now);
	}
	if (tried)
		note_worker_slots(exhausted);
}

/* Until when nothing has to be done unless somebody wakes us, in ms. */
static long
time_to_sleep(TimestampTz now)
{
	HASH_SEQ_STATUS status;
	EbLaunch   *launch;
	long		ms = SCAN_EVERY_MS;

	hash_seq_init(&status, launches);
	while ((launch = hash_seq_search(&status)) != NULL)
		if (launch->handle == NULL && launch->restart_at > now)
			ms = Min(ms, TimestampDifferenceMilliseconds(now, launch->restart_at));
	return ms;
}

/* One round; says how long to sleep after it. */
static long
run_once(void)
{
	TimestampTz now = GetCurrentTimestamp();
	HASH_SEQ_STATUS status;
	EbLaunch   *launch;

	scan();
	hash_seq_init(&status, launches);
	while ((launch = hash_seq_search(&status)) != NULL)
		follow_worker(launch, now);
	if (eb_relay_enabled)
		start_due(now);
	return time_to_sleep(now);
}

static void
launcher_loop(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "eventbus launcher",
												  ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		long		ms;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(context);
		ms = run_once();
		MemoryContextReset(context);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* Entry point of the launcher. */
void
eb_launcher_main(Datum arg)
{
	HASHCTL		ctl;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	eb_worker_connect(InvalidOid, "eventbus launcher");
	eb_shmem_launcher_attach();

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(EbLaunch);
	launches = hash_create("eventbus databases", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	launcher_loop();
}

/* CREATE EXTENSION, or ALTER EXTENSION UPDATE, has committed: a relay is wanted. */
static void
announce_at_commit(XactEvent event, void *arg)
{
	if (!announced || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	announced = false;
	if (event == XACT_EVENT_COMMIT)
	{
		eb_shmem_relay_retry(MyDatabaseId);
		(void) eb_shmem_want();
		eb_wake_launcher();
	}
}

/* eventbus.announce(): the last statement of every script of ours. */
Datum
eventbus_announce(PG_FUNCTION_ARGS)
{
	if (eb_shmem == NULL)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("eventbus is not loaded at server start"),
				 errhint("Add eventbus to shared_preload_libraries and restart the server.")));
	else
	{
		eb_catalog_renew();
		(void) eb_shmem_db();	/* says now if there are too many databases */
		announced = true;
	}
	PG_RETURN_VOID();
}

/* From _PG_init under shared_preload_libraries. */
void
eb_launcher_init(void)
{
	BackgroundWorker worker;

	RegisterXactCallback(announce_at_commit, NULL);
	if (IsBinaryUpgrade)
		return;					/* pg_upgrade wants its databases to itself */

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = LAUNCHER_RESTART_S;
	strlcpy(worker.bgw_library_name, LIBRARY, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "eb_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "eventbus launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "eventbus launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
