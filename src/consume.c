/*
 * consume.c
 *	  eb_fetch, eb_ack, eb_extend: the SQL side of consuming.
 *
 * A waiting eb_fetch sleeps on its latch.  It registers as a waiter before it
 * looks, so that whatever becomes available after the look wakes it; its sleep
 * ends at the latest when the next lease runs out or the next retry is due.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#include "catalog.h"
#include "duration.h"
#include "ephemeral.h"
#include "eventbus.h"
#include "fetch_rows.h"
#include "guc.h"
#include "settle.h"

PG_FUNCTION_INFO_V1(eventbus_fetch);
PG_FUNCTION_INFO_V1(eventbus_ack);
PG_FUNCTION_INFO_V1(eventbus_extend);

/* A wake-up can be lost; nobody sleeps longer than this without a look. */
#define RECHECK_US		USECS_PER_SEC

static void
require_consumable(const char *what)
{
	(void) eb_shmem_db();
	PreventCommandDuringRecovery(what);
	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
}

/* The latest moment to look again, given that now there is nothing. */
static long
sleep_ms(EbSubscription *sub, TimestampTz now, TimestampTz deadline)
{
	TimestampTz until = Min(deadline, now + RECHECK_US);

	until = Min(until, eb_lane_next_due(sub->shared, sub->id));
	if (until <= now)
		return 0;
	return (until - now + 999) / 1000;
}

static void
wait_for_more(EbSubscription *sub, TimestampTz deadline)
{
	long		ms = sleep_ms(sub, GetCurrentTimestamp(), deadline);

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max(ms, 1), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Claims, waiting up to wait_us for something; the claim is in the caller's context. */
static void
claim_or_wait(EbQueue *queue, EbClaim *claim, const char *name, int64 wait_us)
{
	TimestampTz deadline = GetCurrentTimestamp() + wait_us;
	int64		lease = claim->lease;
	EbSubShared *waited;

	for (;;)
	{
		EbSubscription *sub = eb_subscription_by_name(name);

		/* Settings and rights may have changed while we slept. */
		eb_subscription_check_consumer(sub);
		claim->sub = sub;
		claim->lease = lease > 0 ? lease : sub->lease;
		claim->now = GetCurrentTimestamp();
		if (!sub->paused)
			eb_queue_claim(queue, claim);
		if (claim->taken > 0 || claim->now >= deadline)
			break;
		if (eb_wait_begin(sub->shared))
			continue;			/* look once more, now as a waiter */
		if (claim->buried == 0)
			eb_queue_release(queue);
		wait_for_more(sub, deadline);
		AcceptInvalidationMessages();
	}
	waited = eb_wait_end();
	if (waited != NULL && claim->taken == 0)
		eb_wake_consumers(waited, 1);	/* we may have swallowed a wake-up */
}

static int64
fetch_wait_us(FunctionCallInfo fcinfo)
{
	int64		us;

	if (PG_ARGISNULL(3))
		return 0;
	us = eb_duration_us(PG_GETARG_INTERVAL_P(3), "wait", 0);
	if (us > 0 && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("eb_fetch cannot wait in a REPEATABLE READ or SERIALIZABLE transaction"),
				 errhint("Use READ COMMITTED, or call eb_fetch without wait.")));
	return Min(us, (int64) eb_max_wait * 1000);
}

static int
fetch_max_events(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1) || PG_GETARG_INT32(1) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must be positive"),
				 errhint("Pass the most events that this call may return, for example 100.")));
	return PG_GETARG_INT32(1);
}

/* eb_fetch: leases available deliveries and returns their events. */
Datum
eventbus_fetch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EbClaim		claim = {0};
	EbQueue    *queue;
	EbEphemeral *ephemeral;
	char	   *name;
	int64		wait_us;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("subscription must not be null"),
				 errhint("Pass the name of the subscription.")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	claim.max_events = fetch_max_events(fcinfo);
	if (!PG_ARGISNULL(2))
		claim.lease = eb_duration_us(PG_GETARG_INTERVAL_P(2), "lease", 1);
	wait_us = fetch_wait_us(fcinfo);
	(void) eb_shmem_db();
	ephemeral = eb_ephemeral_find(name);
	if (ephemeral != NULL)
	{
		PreventCommandIfParallelMode("eb_fetch");
		InitMaterializedSRF(fcinfo, 0);
		eb_ephemeral_fetch(rsinfo, ephemeral, claim.max_events, wait_us);
		return (Datum) 0;
	}
	require_consumable("eb_fetch");

	InitMaterializedSRF(fcinfo, 0);
	queue = eb_queue_open(RowExclusiveLock);
	claim_or_wait(queue, &claim, name, wait_us);
	if (claim.deliveries != NIL)
		eb_fetch_rows(rsinfo, &claim);
	eb_queue_close(queue);
	return (Datum) 0;
}

static int64
get_receipt(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("receipt must not be null"),
				 errhint("Pass the receipt that eb_fetch returned.")));
	return PG_GETARG_INT64(0);
}

/* eb_ack: settles a delivery, or some of its events; returns how many. */
Datum
eventbus_ack(PG_FUNCTION_ARGS)
{
	EbSettle	settle;
	int64		receipt;
	int			acked;

	receipt = get_receipt(fcinfo);
	if (receipt == EB_NO_RECEIPT)
		PG_RETURN_INT32(0);
	require_consumable("eb_ack");
	eb_settle_open(&settle, receipt);
	if (PG_ARGISNULL(1))
	{
		/* The whole delivery: its events need not be looked at. */
		acked = settle.delivery.events;
		eb_settle_remove_chosen(&settle);
	}
	else
	{
		eb_settle_choose(&settle, PG_GETARG_ARRAYTYPE_P(1));
		acked = settle.nchosen;
		if (acked > 0)
			eb_settle_remove_chosen(&settle);
	}
	eb_queue_settled(settle.sub->shared, acked);
	eb_settle_close(&settle);
	CommandCounterIncrement();
	PG_RETURN_INT32(acked);
}

/* eb_extend: moves the end of a lease to "lease" from now; returns the new end. */
Datum
eventbus_extend(PG_FUNCTION_ARGS)
{
	EbSettle	settle;
	int64		receipt;
	int64		lease = 0;

	receipt = get_receipt(fcinfo);
	if (receipt == EB_NO_RECEIPT)
		PG_RETURN_NULL();		/* there is no lease */
	require_consumable("eb_extend");
	if (!PG_ARGISNULL(1))
		lease = eb_duration_us(PG_GETARG_INTERVAL_P(1), "lease", 1);
	eb_settle_open(&settle, receipt);
	if (lease == 0)
		lease = settle.sub->lease;
	eb_settle_extend(&settle, GetCurrentTimestamp() + lease);
	eb_lane_due(settle.sub->shared, settle.sub->id, settle.delivery.lease_until);
	eb_settle_close(&settle);
	CommandCounterIncrement();
	PG_RETURN_TIMESTAMPTZ(settle.delivery.lease_until);
}
