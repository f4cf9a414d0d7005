/*
 * relay_worker.c
 *	  The main loop of a relay: when to make a pass, and how long to sleep.
 *
 * Idle, a relay answers a commit at once.  Busy, it starts a pass at most every
 * eventbus.relay_pace and rests four times as long as the pass kept a processor busy,
 * so that it never takes more than a fifth of one from the emitters; while it
 * rests nobody signals it, which keeps commits cheap.  Only a relay that is
 * behind goes on without rest: what waits behind a huge transaction must not wait
 * for its emitters as well.
 *
 * An error ends the process, and the launcher starts another.  Between passes a
 * relay holds no lock and no snapshot.
 */
#include "postgres.h"

#include <signal.h>
#include <time.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "epoch.h"
#include "guc.h"
#include "relay.h"
#include "relay_worker.h"
#include "retention.h"
#include "shmem.h"
#include "worker.h"

#define MAX_SLEEP_MS		1000
#define MAINTAIN_EVERY_US	1000000
#define REST_PER_WORK		4

static emit_log_hook_type prev_emit_log_hook = NULL;

/*
 * Logs an error that repeats from relay to relay once; eb_health() counts it.  A
 * relay that somebody terminated has not failed: that is always logged, and the
 * next one comes at once.
 */
static void
dedup_log(ErrorData *edata)
{
	if (edata->elevel >= ERROR && edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		eb_shmem_relay_leaving(EB_RELAY_UNKNOWN);
	else if (edata->elevel >= ERROR && edata->message != NULL &&
			 !eb_shmem_relay_error(edata->message))
		edata->output_to_server = false;
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

/* The slot of this database, claimed; NULL if no relay is to run here. */
static EbDb *
attach(void)
{
	EbDb	   *db = NULL;

	eb_worker_begin("attaching");
	if (eb_worker_lock_extension())
		db = eb_shmem_db();
	else
		eb_shmem_relay_absent(MyDatabaseId);
	eb_worker_commit();

	if (db != NULL && !eb_shmem_relay_claim(db))
		return NULL;
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = dedup_log;
	return db;
}

/* False if the extension is gone. */
static bool
make_pass(EbDb *db, EbRelayPass *pass)
{
	bool		installed;

	eb_worker_begin("routing events");
	installed = eb_worker_lock_extension();
	if (installed && eb_epoch_may_run(db))
		eb_relay_pass(pass);
	eb_worker_commit();
	if (!installed)
		return false;
	eb_relay_committed();
	pg_atomic_fetch_add_u64(&db->passes, 1);
	pg_atomic_write_u64(&db->last_pass_at, (uint64) GetCurrentTimestamp());
	return true;
}

/* In a transaction of its own, for the locks that it takes. */
static void
retain(void)
{
	eb_worker_begin("dropping segments");
	if (eb_worker_lock_extension() && eb_epoch_may_run(eb_shmem_db()))
		eb_retention_run();
	eb_worker_commit();
}

/* Likewise. */
static void
rotate(void)
{
	eb_worker_begin("rotating the queue");
	if (eb_worker_lock_extension() && eb_epoch_may_run(eb_shmem_db()))
		eb_relay_rotate();
	eb_worker_commit();
}

/* About once a second; what is gone, the next pass will find. */
static void
maintain(void)
{
	eb_worker_begin("housekeeping");
	if (eb_worker_lock_extension() && eb_epoch_may_run(eb_shmem_db()))
		eb_relay_maintain();
	eb_worker_commit();
	pgstat_report_stat(true);
}

/* Time that cannot be set, in microseconds. */
static int64
monotonic_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/* The processor time that this process has taken, in microseconds. */
static int64
processor_us(void)
{
#ifdef CLOCK_PROCESS_CPUTIME_ID
	struct timespec used;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0)
		return (int64) used.tv_sec * 1000000 + used.tv_nsec / 1000;
#endif
	return monotonic_us();
}

static void
reload(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

static bool
must_leave(EbDb *db)
{
	return !eb_relay_enabled || db->holders > 0;
}

/* Rests until then; serves interrupts, but no commit ends it. */
static void
rest_until(EbDb *db, int64 then)
{
	int64		left;

	while ((left = then - monotonic_us()) > 0 && !must_leave(db))
	{
		if (left <= 1000)
			pg_usleep(left);	/* finer than what WaitLatch can */
		else
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 left / 1000, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
		CHECK_FOR_INTERRUPTS();
		reload();
	}
}

/* Sleeps until there is something to route, a timer is due, or a second is over. */
static void
wait_for_commit(EbDb *db, const EbRelayPass *pass)
{
	long		timeout = MAX_SLEEP_MS;

	if (pass->next_wanted != 0)
		timeout = Min(timeout,
					  TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													  pass->next_wanted));
	pg_atomic_write_u32(&db->relay_sleeping, 1);
	pg_memory_barrier();		/* announce the sleep first, look again second */
	if (pg_atomic_read_u32(&db->relay_requests) == pass->requests &&
		(!eb_sequencer_ready(db) || eb_sequencer_safe(db) <= pass->position))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	pg_atomic_write_u32(&db->relay_sleeping, 0);
}

/* Passes until somebody wants the relay away; the state to leave the slot in. */
static EbRelayState
relay_loop(EbDb *db)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "eventbus relay",
												  ALLOCSET_DEFAULT_SIZES);
	int64		maintained = 0;

	MemoryContextSwitchTo(context);
	for (;;)
	{
		EbRelayPass pass = {0};
		int64		started;
		int64		work;

		CHECK_FOR_INTERRUPTS();
		reload();
		if (must_leave(db))
			return EB_RELAY_UNKNOWN;

		started = monotonic_us();
		work = processor_us();
		if (!make_pass(db, &pass))
			return EB_RELAY_ABSENT;
		work = processor_us() - work;
		if (maintained == 0 || started - maintained >= MAINTAIN_EVERY_US)
		{
			maintain();
			rotate();
			retain();
			maintained = started;
		}
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);

		if (pass.more)
			continue;
		rest_until(db, started + Max(eb_relay_pace * INT64CONST(1000),
									 work * (1 + REST_PER_WORK)));
		wait_for_commit(db, &pass);
	}
}

/* Entry point of a relay; the argument is the database's oid. */
void
eb_relay_worker_main(Datum arg)
{
	EbDb	   *db;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	eb_worker_connect(DatumGetObjectId(arg), "eventbus relay");

	db = attach();
	if (db != NULL)
		eb_shmem_relay_leaving(relay_loop(db));
	proc_exit(0);
}
