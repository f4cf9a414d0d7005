/*
 * relay_run.c
 *	  eb_relay_run(): a pass in the calling session.
 *
 * For tests, and for servers where the workers are switched off.  Until the end
 * of the calling transaction no other pass can be made.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "relay.h"
#include "retention.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(eventbus_relay_run);

static bool ran = false;

static void
at_xact_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && ran)
		eb_relay_committed();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		ran = false;
}

/*
 * What is rolled back may be a pass, of which nothing may be published.  If it was
 * not, the next pass finds the progress row all the same.
 */
static void
at_subxact_end(SubXactEvent event, SubTransactionId mySubid,
			   SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		ran = false;
}

/* eb_relay_run: makes one pass; returns the events it put into deliveries. */
Datum
eventbus_relay_run(PG_FUNCTION_ARGS)
{
	static bool registered = false;
	EbRelayPass pass;

	(void) eb_shmem_db();
	PreventCommandDuringRecovery("eb_relay_run");
	PreventCommandIfReadOnly("eb_relay_run");
	PreventCommandIfParallelMode("eb_relay_run");
	if (!registered)
	{
		RegisterXactCallback(at_xact_end, NULL);
		RegisterSubXactCallback(at_subxact_end, NULL);
		registered = true;
	}
	eb_relay_rotate();
	eb_relay_maintain();
	eb_relay_pass(&pass);
	if (!IsolationUsesXactSnapshot())	/* it must see the queue as it is now */
		eb_retention_run();
	ran = true;
	CommandCounterIncrement();	/* for another pass in this statement */
	PG_RETURN_INT64(pass.routed);
}
