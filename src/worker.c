/*
 * worker.c
 *	  Connecting a background worker, and its transactions.
 *
 * A worker connects as the bootstrap superuser, so that no role has to exist,
 * and inherits what ALTER DATABASE and ALTER ROLE have set for it.  Whatever of
 * that could stop it or lead it astray is overridden for good, above the source
 * that a reload of the configuration could change.
 *
 * This is the only file that starts a transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/lmgr.h"
#include "utils/guc.h"

#include "catalog.h"
#include "worker.h"

static const struct
{
	const char *name;
	const char *value;
}			pinned[] = {
	{"role", "none"},
	{"search_path", "pg_catalog, pg_temp"},
	{"lock_timeout", "0"},
	{"statement_timeout", "0"},
	{"transaction_timeout", "0"},	/* since PG 17 */
	{"idle_in_transaction_session_timeout", "0"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"default_table_access_method", "heap"},
	{"session_replication_role", "origin"},
	{"synchronous_commit", "off"},
	{"jit", "off"},
	{"row_security", "on"},
};

/* Connects to a database, or to none, and pins the settings. */
void
eb_worker_connect(Oid dboid, const char *application_name)
{
	if (OidIsValid(dboid))
		BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	else
		BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	for (int i = 0; i < lengthof(pinned); i++)
		if (GetConfigOption(pinned[i].name, true, false) != NULL)
			SetConfigOption(pinned[i].name, pinned[i].value, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", application_name, PGC_USERSET, PGC_S_SESSION);
}

/* Starts a transaction, without a snapshot; activity is for pg_stat_activity. */
void
eb_worker_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, activity);
}

/*
 * Keeps DROP EXTENSION out until the transaction ends; false if the extension is
 * not installed.  Waits for a DROP EXTENSION that is under way.
 */
bool
eb_worker_lock_extension(void)
{
	const EbCatalog *c;
	Oid			locked = InvalidOid;

	while ((c = eb_catalog_if_installed()) != NULL && c->extension != locked)
	{
		locked = c->extension;
		LockDatabaseObject(ExtensionRelationId, locked, 0, AccessShareLock);
	}
	return c != NULL;
}

void
eb_worker_commit(void)
{
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
}
