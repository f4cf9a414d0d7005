/*
 * shmem_worker.c
 *	  What launcher, relays and sessions tell each other about a relay.
 *
 * The states of a database's relay, and who moves it along:
 *
 *	UNKNOWN   -> STARTING	launcher, when it registers the worker
 *	STARTING  -> RUNNING	the worker, when it claims the slot
 *	STARTING  -> ABSENT		the worker, when the extension is not there
 *	STARTING  -> FAILED		launcher, when the worker ended without a word
 *	RUNNING   -> UNKNOWN	the worker, asked to leave (hold, eventbus.relay)
 *	RUNNING   -> ABSENT		the worker, when the extension was dropped
 *	RUNNING   -> FAILED		the worker's exit callback, after an error
 *	FAILED    -> STARTING	launcher, at restart_at
 *	FAILED    -> UNKNOWN	CREATE EXTENSION, ALTER EXTENSION UPDATE
 *	ABSENT    -> UNKNOWN	CREATE EXTENSION or an emit
 *
 * A database that nobody has emitted in has no slot; its first relay is then a
 * probe.  All of it is under the directory lock, except for the error text: a
 * process that reports an error may hold any LWLock, so that is behind the
 * slot's mutex.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "shmem.h"

/* How often a session asks for the relay that it misses. */
#define WANT_EVERY_MS	1000

/* The slot that this relay has claimed, and the state it leaves it in. */
static EbDb *claimed = NULL;
static EbRelayState leave_state = EB_RELAY_FAILED;

/* The slot of a database; the directory lock is held. */
static EbDb *
slot_of(Oid dboid)
{
	for (int i = 0; i < eb_shmem->ndbs; i++)
		if (eb_shmem->dbs[i].dboid == dboid)
			return &eb_shmem->dbs[i];
	return NULL;
}

/* The probe of a database, or a free one for InvalidOid; the lock is held. */
static EbProbe *
probe_of(Oid dboid)
{
	for (int i = 0; i < EB_PROBES; i++)
		if (eb_shmem->probes[i].dboid == dboid)
			return &eb_shmem->probes[i];
	return NULL;
}

/* A hold on a database without a slot, or a free entry; the lock is held. */
static Oid *
probe_hold_of(Oid dboid)
{
	for (int i = 0; i < EB_PROBE_HOLDS; i++)
		if (eb_shmem->probe_holds[i] == dboid)
			return &eb_shmem->probe_holds[i];
	return NULL;
}

static void
detach_launcher(int code, Datum arg)
{
	LWLockReleaseAll();
	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	if (eb_shmem->launcher_pid == MyProcPid)
	{
		eb_shmem->launcher_pid = 0;
		eb_shmem->launcher_procno = -1;
	}
	LWLockRelease(eb_shmem->directory);
}

/* Makes this process the launcher, and forgets the probes of the last one. */
void
eb_shmem_launcher_attach(void)
{
	before_shmem_exit(detach_launcher, (Datum) 0);
	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	eb_shmem->launcher_pid = MyProcPid;
	eb_shmem->launcher_procno = MyProcNumber;
	eb_shmem->no_worker_slot = false;
	memset(eb_shmem->probes, 0, sizeof(eb_shmem->probes));
	LWLockRelease(eb_shmem->directory);
}

/* The launcher's process id, 0 if none runs. */
pid_t
eb_shmem_launcher_pid(void)
{
	pid_t		pid;

	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	pid = eb_shmem->launcher_pid;
	LWLockRelease(eb_shmem->directory);
	return pid;
}

/* Launcher: whether the server had a slot for the last worker. */
void
eb_shmem_worker_slots(bool exhausted)
{
	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	eb_shmem->no_worker_slot = exhausted;
	LWLockRelease(eb_shmem->directory);
}

/* Writes the databases that have a slot into dboids[ndbs]; returns how many. */
int
eb_shmem_dboids(Oid *dboids)
{
	int			n = 0;

	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	for (int i = 0; i < eb_shmem->ndbs; i++)
		if (OidIsValid(eb_shmem->dbs[i].dboid))
			dboids[n++] = eb_shmem->dbs[i].dboid;
	LWLockRelease(eb_shmem->directory);
	return n;
}

/* A copy of what is known of a database's relay. */
void
eb_shmem_relay_read(Oid dboid, EbRelayInfo *info)
{
	EbDb	   *db;
	EbProbe    *probe;

	memset(info, 0, sizeof(*info));
	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	db = slot_of(dboid);
	if (db != NULL)
	{
		info->slotted = true;
		info->state = db->relay_state;
		info->pid = db->relay_pid;
		info->started_at = db->relay_started_at;
		info->restart_at = db->relay_restart_at;
		info->failures = db->relay_failures;
		info->holders = db->holders;
		SpinLockAcquire(&db->mutex);
		memcpy(info->error, db->relay_error, sizeof(info->error));
		SpinLockRelease(&db->mutex);
	}
	else
	{
		if ((probe = probe_of(dboid)) != NULL)
			info->state = probe->state;
		info->holders = (probe_hold_of(dboid) != NULL);
	}
	LWLockRelease(eb_shmem->directory);
}

/*
 * Launcher: a relay for this database is about to be registered.  False if it
 * is held, or has no slot while too many others are being probed.
 */
bool
eb_shmem_relay_starting(Oid dboid)
{
	EbDb	   *db;
	EbProbe    *probe;
	bool		ok = false;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	db = slot_of(dboid);
	if (db != NULL)
	{
		if (db->holders == 0 && db->relay_pid == 0 &&
			db->relay_state != EB_RELAY_ABSENT)
		{
			db->relay_state = EB_RELAY_STARTING;
			db->relay_wanted = false;
			ok = true;
		}
	}
	else if (probe_hold_of(dboid) == NULL &&
			 ((probe = probe_of(dboid)) != NULL ||
			  (probe = probe_of(InvalidOid)) != NULL))
	{
		probe->dboid = dboid;
		probe->state = EB_RELAY_STARTING;
		ok = true;
	}
	LWLockRelease(eb_shmem->directory);
	return ok;
}

/* Launcher: the relay could not start, or ended by an error. */
void
eb_shmem_relay_failed(Oid dboid, int failures, TimestampTz restart_at)
{
	EbDb	   *db;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	db = slot_of(dboid);
	if (db != NULL && db->relay_pid == 0 &&
		(db->relay_state == EB_RELAY_STARTING || db->relay_state == EB_RELAY_FAILED))
	{
		db->relay_state = EB_RELAY_FAILED;
		db->relay_failures = failures;
		db->relay_restart_at = restart_at;
	}
	LWLockRelease(eb_shmem->directory);
}

/* The extension was installed or updated here: a relay that failed may try at once. */
void
eb_shmem_relay_retry(Oid dboid)
{
	EbDb	   *db;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	db = slot_of(dboid);
	if (db != NULL && db->relay_state == EB_RELAY_FAILED)
		db->relay_state = EB_RELAY_UNKNOWN;
	LWLockRelease(eb_shmem->directory);
}

/* Launcher: the relay has proved itself; its failures are history. */
void
eb_shmem_relay_healthy(Oid dboid)
{
	EbDb	   *db;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	db = slot_of(dboid);
	if (db != NULL && db->relay_pid != 0)
	{
		db->relay_failures = 0;
		db->relay_restart_at = 0;
		SpinLockAcquire(&db->mutex);
		db->relay_error[0] = '\0';
		SpinLockRelease(&db->mutex);
	}
	LWLockRelease(eb_shmem->directory);
}

static void
detach_relay(int code, Datum arg)
{
	EbDb	   *db = claimed;

	if (db == NULL)
		return;
	claimed = NULL;
	LWLockReleaseAll();
	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	if (db->relay_pid == MyProcPid)
	{
		db->relay_pid = 0;
		db->relay_procno = -1;
		db->relay_restart_at = 0;
		if (leave_state == EB_RELAY_ABSENT && db->relay_wanted)
			leave_state = EB_RELAY_UNKNOWN;
		db->relay_state = leave_state;
		pg_atomic_write_u32(&db->relay_sleeping, 0);
	}
	LWLockRelease(eb_shmem->directory);
	eb_wake_launcher();
}

/*
 * Makes this process the relay of its database.  False if there is one, or if a
 * session wants it away.
 */
bool
eb_shmem_relay_claim(EbDb *db)
{
	EbProbe    *probe;
	bool		ok = false;

	before_shmem_exit(detach_relay, (Datum) 0);
	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	if ((probe = probe_of(db->dboid)) != NULL)
		probe->dboid = InvalidOid;
	if (db->relay_pid == 0)
	{
		if (db->holders > 0)
			db->relay_state = EB_RELAY_UNKNOWN;
		else
		{
			db->relay_state = EB_RELAY_RUNNING;
			db->relay_pid = MyProcPid;
			db->relay_procno = MyProcNumber;
			db->relay_started_at = GetCurrentTimestamp();
			claimed = db;
			ok = true;
		}
	}
	LWLockRelease(eb_shmem->directory);
	eb_wake_launcher();
	return ok;
}

/* The state in which this relay leaves its slot if it exits from here on. */
void
eb_shmem_relay_leaving(EbRelayState state)
{
	leave_state = state;
}

/* A relay that has claimed nothing found no extension in its database. */
void
eb_shmem_relay_absent(Oid dboid)
{
	EbDb	   *db;
	EbProbe    *probe;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	db = slot_of(dboid);
	if (db != NULL)
	{
		if (db->relay_pid == 0 && db->relay_state == EB_RELAY_STARTING)
			db->relay_state = db->relay_wanted ? EB_RELAY_UNKNOWN : EB_RELAY_ABSENT;
	}
	else if ((probe = probe_of(dboid)) != NULL)
		probe->state = EB_RELAY_ABSENT;
	LWLockRelease(eb_shmem->directory);
}

/* Keeps a relay's error; false if it is the one that is kept already. */
bool
eb_shmem_relay_error(const char *message)
{
	EbDb	   *db = claimed;
	bool		fresh;

	if (db == NULL)
		return true;
	SpinLockAcquire(&db->mutex);
	fresh = strncmp(db->relay_error, message, EB_RELAY_ERROR_LEN - 1) != 0;
	strlcpy(db->relay_error, message, EB_RELAY_ERROR_LEN);
	SpinLockRelease(&db->mutex);
	return fresh;
}

/* Launcher: the probe of this database is over. */
void
eb_shmem_probe_end(Oid dboid)
{
	EbProbe    *probe;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	probe = probe_of(dboid);
	if (probe != NULL)
		probe->dboid = InvalidOid;
	LWLockRelease(eb_shmem->directory);
}

/*
 * This database has the extension: it gets a slot, and a relay if it was thought
 * to lack the extension.  False if the launcher has nothing to do about it.
 */
bool
eb_shmem_want(void)
{
	EbDb	   *db = eb_shmem_db_find(MyDatabaseId, true);
	bool		wanted = false;

	if (db == NULL)
		return false;
	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	if (db->relay_state == EB_RELAY_ABSENT)
		db->relay_state = EB_RELAY_UNKNOWN;
	db->relay_wanted = true;
	wanted = (db->relay_state == EB_RELAY_UNKNOWN);
	LWLockRelease(eb_shmem->directory);
	return wanted;
}

/*
 * This database has the extension but, as it seems, no relay: makes sure that
 * the launcher knows.  Cheap, and safe in a commit callback.
 */
void
eb_want_relay(void)
{
	static TimestampTz last = 0;
	TimestampTz now;

	if (!eb_relay_enabled)
		return;
	now = GetCurrentTimestamp();
	if (last != 0 && last <= now && !TimestampDifferenceExceeds(last, now, WANT_EVERY_MS))
		return;
	last = now;
	if (eb_shmem_want())
		eb_wake_launcher();
}

/*
 * Keeps relays away from a database until eb_shmem_unhold, which wants the
 * result, and tells a running one.
 */
EbHoldKind
eb_shmem_hold(Oid dboid)
{
	EbHoldKind	kind = EB_HOLD_NONE;
	EbDb	   *db;
	int			procno = -1;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	db = slot_of(dboid);
	if (db != NULL)
	{
		db->holders++;
		procno = db->relay_procno;
		kind = EB_HOLD_SLOT;
	}
	else
	{
		Oid		   *entry = probe_hold_of(InvalidOid);

		if (entry != NULL)
		{
			*entry = dboid;
			kind = EB_HOLD_PROBE;
		}
	}
	LWLockRelease(eb_shmem->directory);
	if (procno >= 0)
		SetLatch(&GetPGProcByNumber(procno)->procLatch);
	return kind;
}

/* Ends one hold; the database, and so its slot, may be gone meanwhile. */
void
eb_shmem_unhold(Oid dboid, EbHoldKind kind)
{
	EbDb	   *db;
	Oid		   *entry;

	LWLockAcquire(eb_shmem->directory, LW_EXCLUSIVE);
	if (kind == EB_HOLD_SLOT && (db = slot_of(dboid)) != NULL && db->holders > 0)
		db->holders--;
	if (kind == EB_HOLD_PROBE && (entry = probe_hold_of(dboid)) != NULL)
		*entry = InvalidOid;
	LWLockRelease(eb_shmem->directory);
	eb_wake_launcher();
}

/*
 * True once no relay or probe is in, or on its way to, the database.  *pid is
 * that of the relay that is, 0 if it cannot be told yet, and is to be passed
 * again: a relay that has detached may still be in the proc array.
 */
bool
eb_shmem_relay_gone(Oid dboid, pid_t *pid)
{
	EbDb	   *db;
	EbProbe    *probe;
	bool		coming = false;

	LWLockAcquire(eb_shmem->directory, LW_SHARED);
	db = slot_of(dboid);
	probe = probe_of(dboid);
	if (db != NULL)
	{
		coming = (db->relay_pid != 0 || db->relay_state == EB_RELAY_STARTING);
		if (db->relay_pid != 0)
			*pid = db->relay_pid;
	}
	if (probe != NULL && probe->state == EB_RELAY_STARTING)
		coming = true;
	LWLockRelease(eb_shmem->directory);
	return !coming && (*pid == 0 || BackendPidGetProc(*pid) == NULL);
}
