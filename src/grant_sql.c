/*
 * grant_sql.c
 *	  eb_grant and eb_revoke: the SQL side of rights.
 *
 * The change itself is eventbus.change_privilege, in PL/pgSQL as the extension's
 * owner, because GRANT EXECUTE takes the owner; here is noted on whose behalf.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "catalog.h"
#include "shmem.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(eventbus_grant);
PG_FUNCTION_INFO_V1(eventbus_revoke);
PG_FUNCTION_INFO_V1(eventbus_privilege_changed);

/* Arguments of both. */
enum
{
	ARG_PRIVILEGE,
	ARG_TARGET,
	ARG_GRANTEE
};

static void
check_arguments(FunctionCallInfo fcinfo)
{
	const char *privilege;
	const char *target;

	for (int i = 0; i <= ARG_GRANTEE; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("privilege, target and grantee must not be null"),
					 errhint("For example: eb_grant('emit', 'order.*', 'shop').")));
	privilege = text_to_cstring(PG_GETARG_TEXT_PP(ARG_PRIVILEGE));
	target = text_to_cstring(PG_GETARG_TEXT_PP(ARG_TARGET));
	if (strcmp(privilege, "emit") == 0 || strcmp(privilege, "subscribe") == 0 ||
		strcmp(privilege, "read") == 0)
		(void) eb_topic_compile(1, &target);
	else if (strcmp(privilege, "consume") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown privilege \"%s\"", privilege),
				 errhint("Use 'emit', 'subscribe' or 'read' with a topic pattern, or 'consume' with a subscription.")));
	if (strcmp(NameStr(*PG_GETARG_NAME(ARG_GRANTEE)), "public") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nothing can be granted to PUBLIC"),
				 errhint("Grant to a group role and make the roles that need it its members.")));
}

static bool
change_privilege(FunctionCallInfo fcinfo, bool revoking)
{
	EbOwnerScope scope;
	Oid			types[5] = {BOOLOID, TEXTOID, TEXTOID, NAMEOID, OIDOID};
	Datum		args[5];
	bool		isnull;
	bool		changed;

	check_arguments(fcinfo);
	args[0] = BoolGetDatum(revoking);
	args[1] = PG_GETARG_DATUM(ARG_PRIVILEGE);
	args[2] = PG_GETARG_DATUM(ARG_TARGET);
	args[3] = PG_GETARG_DATUM(ARG_GRANTEE);
	args[4] = ObjectIdGetDatum(GetUserId());
	eb_owner_begin(&scope);
	SPI_connect();
	if (SPI_execute_with_args("SELECT eventbus.change_privilege($1, $2, $3, $4, $5)",
							  5, types, args, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not change a privilege");
	changed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	eb_owner_end(&scope);
	return changed;
}

/* eb_grant(privilege, target, grantee) */
Datum
eventbus_grant(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("eb_grant");
	PreventCommandIfReadOnly("eb_grant");
	PreventCommandIfParallelMode("eb_grant");
	(void) change_privilege(fcinfo, false);
	PG_RETURN_VOID();
}

/* eb_revoke(privilege, target, grantee): false if there was nothing to revoke. */
Datum
eventbus_revoke(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("eb_revoke");
	PreventCommandIfReadOnly("eb_revoke");
	PreventCommandIfParallelMode("eb_revoke");
	PG_RETURN_BOOL(change_privilege(fcinfo, true));
}

/* Statement trigger of eventbus.privilege: whoever changes it, all reload. */
Datum
eventbus_privilege_changed(PG_FUNCTION_ARGS)
{
	if (CALLED_AS_TRIGGER(fcinfo))
		CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	PG_RETURN_POINTER(NULL);
}
