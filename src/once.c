/*
 * once.c
 *	  eb_once: do something with an event once, on the consumer's side.
 *
 * For effects outside the database, where at-least-once delivery is all there is.
 * The pair of scope and id is claimed as an id at the door is (dedup.c): who comes
 * second waits for the first one's outcome.  It is remembered for
 * eventbus.dedup_window from the id's own time on, so that forgetting is dropping
 * partitions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "compat.h"
#include "dedup.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(eventbus_once);

#define SCOPE_MAX		255		/* bytes */

static void
check_scope(text *scope)
{
	int			len = VARSIZE_ANY_EXHDR(scope);

	if (len < 1 || len > SCOPE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope must have 1 to %d bytes, not %d", SCOPE_MAX, len),
				 errhint("Name what is done once, for example 'send-mail'.")));
}

/* eb_once(scope, event_id): true for the first that asks, and commits */
Datum
eventbus_once(PG_FUNCTION_ARGS)
{
	text	   *scope;
	bool		first;

	(void) eb_shmem_db();
	PreventCommandDuringRecovery("eb_once");
	PreventCommandIfReadOnly("eb_once");
	PreventCommandIfParallelMode("eb_once");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope and event_id must not be null"),
				 errhint("Name what is done once, and the event that it is done for.")));
	scope = PG_GETARG_TEXT_PP(0);
	check_scope(scope);
	eb_dedup_check(EB_DEDUP_ONCE, PG_GETARG_UUID_P(1));
	first = eb_dedup_claim_once(PG_GETARG_UUID_P(1), PointerGetDatum(scope));
	if (first)
		CommandCounterIncrement();
	PG_RETURN_BOOL(first);
}
