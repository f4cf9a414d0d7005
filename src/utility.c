/*
 * utility.c
 *	  DROP DATABASE and its kin, although a relay is connected.
 *
 * Commands that need a database to themselves would find our relay in it.  A
 * ProcessUtility hook therefore holds the relay of that database off for as long
 * as the transaction runs, asks it to leave and waits until it has.  A hold ends
 * with the transaction, or the subtransaction, however it ends.
 * DISCARD ALL comes this way, too: it drops the session's ephemeral subscriptions.
 *
 * Whoever may not run the command must not move a relay either, so the rights
 * are checked first, as the command will do.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "ephemeral.h"
#include "shmem.h"
#include "utility.h"

#define POLL_MS			5
#define TERMINATE_MS	1000	/* a relay that does not leave by itself */
#define GIVE_UP_MS		10000	/* then the command says what it thinks of it */

typedef struct EbHold
{
	Oid			dboid;
	EbHoldKind	kind;
	SubTransactionId subid;
	struct EbHold *next;
} EbHold;

static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static EbHold *holds = NULL;
static bool exit_registered = false;

/* Ends the holds of a subtransaction, or all of them. */
static void
release(SubTransactionId subid)
{
	EbHold	  **link = &holds;

	while (*link != NULL)
	{
		EbHold	   *hold = *link;

		if (subid == InvalidSubTransactionId || hold->subid == subid)
		{
			*link = hold->next;
			eb_shmem_unhold(hold->dboid, hold->kind);
			pfree(hold);
		}
		else
			link = &hold->next;
	}
}

static void
release_at_exit(int code, Datum arg)
{
	if (holds != NULL)
		release(InvalidSubTransactionId);
}

static void
release_at_xact_end(XactEvent event, void *arg)
{
	if (holds != NULL && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
						  event == XACT_EVENT_PREPARE))
		release(InvalidSubTransactionId);
}

static void
release_at_subxact_end(SubXactEvent event, SubTransactionId mySubid,
					   SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		release(mySubid);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (EbHold *hold = holds; hold != NULL; hold = hold->next)
			if (hold->subid == mySubid)
				hold->subid = parentSubid;
	}
}

/* Waits until no relay is in the database, for a bounded time. */
static void
wait_until_gone(Oid dboid)
{
	TimestampTz start = GetCurrentTimestamp();
	bool		terminated = false;
	pid_t		pid = 0;

	while (!eb_shmem_relay_gone(dboid, &pid))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (TimestampDifferenceExceeds(start, now, GIVE_UP_MS))
			return;
		if (!terminated && pid != 0 && TimestampDifferenceExceeds(start, now, TERMINATE_MS))
		{
			(void) kill(pid, SIGTERM);
			terminated = true;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Keeps relays out of a database until the transaction ends. */
static void
hold_off(Oid dboid)
{
	EbHold	   *hold;

	if (!exit_registered)
	{
		before_shmem_exit(release_at_exit, (Datum) 0);
		exit_registered = true;
	}
	hold = MemoryContextAlloc(TopMemoryContext, sizeof(EbHold));
	hold->dboid = dboid;
	hold->subid = GetCurrentSubTransactionId();
	hold->kind = eb_shmem_hold(dboid);
	hold->next = holds;
	holds = hold;
	wait_until_gone(dboid);
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (!HeapTupleIsValid(tuple))
		return false;
	may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return may;
}

static bool
is_template(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		yes;

	if (!HeapTupleIsValid(tuple))
		return false;
	yes = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return yes;
}

/* The argument of an option, or the default where it has none. */
static const char *
string_option(List *options, const char *name, const char *otherwise)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0)
			return option->arg ? defGetString(option) : otherwise;
	}
	return otherwise;
}

/* The database that a command needs to itself, if the user may run it. */
static Oid
database_needed(Node *stmt, bool is_top_level)
{
	const char *name = NULL;
	bool		copied = false;
	bool		create = false;
	Oid			dboid;

	if (IsA(stmt, DropdbStmt))
	{
		PreventInTransactionBlock(is_top_level, "DROP DATABASE");
		name = ((DropdbStmt *) stmt)->dbname;
	}
	else if (IsA(stmt, CreatedbStmt))
	{
		PreventInTransactionBlock(is_top_level, "CREATE DATABASE");
		name = string_option(((CreatedbStmt *) stmt)->options, "template", "template1");
		copied = create = true;
	}
	else if (IsA(stmt, AlterDatabaseStmt))
	{
		AlterDatabaseStmt *alter = (AlterDatabaseStmt *) stmt;

		if (string_option(alter->options, "tablespace", NULL) == NULL)
			return InvalidOid;
		PreventInTransactionBlock(is_top_level, "ALTER DATABASE SET TABLESPACE");
		name = alter->dbname;
	}
	else if (IsA(stmt, RenameStmt) && ((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
	{
		name = ((RenameStmt *) stmt)->subname;
		create = true;
	}
	else
		return InvalidOid;

	dboid = get_database_oid(name, true);
	if (!OidIsValid(dboid) || (dboid == MyDatabaseId && !copied) ||
		(create && !may_create_databases()))
		return InvalidOid;
	if (!eb_database_ownercheck(dboid, GetUserId()) && !(copied && is_template(dboid)))
		return InvalidOid;
	return dboid;
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Oid			dboid = database_needed(pstmt->utilityStmt,
										context == PROCESS_UTILITY_TOPLEVEL);
	bool		discards_all = IsA(pstmt->utilityStmt, DiscardStmt) &&
		((DiscardStmt *) pstmt->utilityStmt)->target == DISCARD_ALL;

	if (OidIsValid(dboid))
		hold_off(dboid);
	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params,
							queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params,
								queryEnv, dest, qc);
	if (discards_all)
		eb_ephemeral_drop_all();
}

/* From _PG_init under shared_preload_libraries. */
void
eb_utility_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(release_at_xact_end, NULL);
	RegisterSubXactCallback(release_at_subxact_end, NULL);
}
