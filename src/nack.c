/*
 * nack.c
 *	  eb_nack: what failed is retried later or becomes a dead letter.
 *
 * Only the events that failed leave their delivery; their neighbours stay leased
 * as they are.  What is retried gets a row of its own: in the lane of retries,
 * ordered by their time, or, where order counts, in its own place, so that
 * what comes after it waits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "backoff.h"
#include "dead_letter.h"
#include "duration.h"
#include "fault.h"
#include "reason.h"
#include "settle.h"

PG_FUNCTION_INFO_V1(eventbus_nack);

/* Arguments of eb_nack. */
enum
{
	ARG_RECEIPT,
	ARG_EVENT_IDS,
	ARG_ERROR,
	ARG_REASON,
	ARG_RETRY_AFTER
};

/* The delay before the next attempt, in microseconds. */
typedef struct RetryDelay
{
	int64		least;
	int64		most;
	int64		chosen;
} RetryDelay;

/* Puts the chosen events back, to be taken after the delay. */
static void
schedule(EbSettle *settle, const EbDelivery *failed, TimestampTz at, const RetryDelay *delay)
{
	EbDelivery	retry = *failed;
	EbSubShared *shared = settle->sub->shared;

	if (EB_FAULT("retry_drops_row"))
		return;
	eb_queue_set_offsets(&retry, settle->chosen, settle->nchosen);
	retry.lease_until = 0;
	retry.due_at = at + delay->chosen;
	if (retry.lane >= EB_LANE_ORDERED)
	{
		retry.position = retry.first_offset;
		eb_queue_insert(settle->queue, &retry);
		eb_lane_due(shared, retry.subscription_id, retry.due_at);
	}
	else
		eb_queue_retry(settle->queue, settle->sub, &retry, settle->chosen,
					   at + delay->least, at + delay->most);
	eb_lane_lower(shared, retry.subscription_id, retry.lane, retry.position);
	eb_queue_released(shared, &retry);
	pg_atomic_fetch_add_u64(&shared->retried, settle->nchosen);
}

static RetryDelay
retry_delay(FunctionCallInfo fcinfo, const EbSettle *settle)
{
	const EbSubscription *sub = settle->sub;
	RetryDelay	delay;

	if (!PG_ARGISNULL(ARG_RETRY_AFTER))
	{
		delay.least = eb_duration_us(PG_GETARG_INTERVAL_P(ARG_RETRY_AFTER), "retry_after", 0);
		delay.most = delay.chosen = delay.least;
		return delay;
	}
	delay.least = eb_backoff_delay(settle->delivery.attempt, sub->backoff, sub->backoff_max);
	delay.most = delay.least + eb_backoff_jitter_max(delay.least);
	delay.chosen = delay.least + eb_backoff_jitter(delay.least);
	return delay;
}

/* eb_nack(receipt, event_ids, error, reason, retry_after) */
Datum
eventbus_nack(PG_FUNCTION_ARGS)
{
	EbSettle	settle;
	EbDelivery	failed;
	EbFailure	failure = {0};
	RetryDelay	delay;

	(void) eb_shmem_db();
	if (!PG_ARGISNULL(ARG_RECEIPT) && PG_GETARG_INT64(ARG_RECEIPT) == EB_NO_RECEIPT)
		PG_RETURN_INT32(0);
	PreventCommandDuringRecovery("eb_nack");
	PreventCommandIfReadOnly("eb_nack");
	PreventCommandIfParallelMode("eb_nack");
	if (PG_ARGISNULL(ARG_RECEIPT) || PG_ARGISNULL(ARG_REASON))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("receipt and reason must not be null"),
				 errhint("Pass the receipt that eb_fetch returned.")));

	eb_settle_open(&settle, PG_GETARG_INT64(ARG_RECEIPT));
	delay = retry_delay(fcinfo, &settle);
	eb_settle_choose(&settle, PG_ARGISNULL(ARG_EVENT_IDS) ? NULL :
					 PG_GETARG_ARRAYTYPE_P(ARG_EVENT_IDS));
	if (settle.nchosen > 0)
	{
		failed = settle.delivery;
		failure.attempt = failed.attempt;
		failure.at = GetCurrentTimestamp();
		failure.consumer = failed.consumer;
		failure.reason = eb_reason_label(PG_GETARG_OID(ARG_REASON));
		failure.error = PG_ARGISNULL(ARG_ERROR) ? NULL :
			text_to_cstring(PG_GETARG_TEXT_PP(ARG_ERROR));
		eb_queue_fail(&failed, settle.chosen, settle.nchosen, &failure);

		eb_settle_remove_chosen(&settle);
		if (!eb_reason_retryable(failure.reason))
			eb_dead_letter_bury(settle.sub, &failed, settle.chosen, settle.nchosen,
								failure.reason, failure.error);
		else if (failed.attempt >= settle.sub->max_attempts)
			eb_dead_letter_bury(settle.sub, &failed, settle.chosen, settle.nchosen,
								EB_REASON_RETRIES, failure.error);
		else
			schedule(&settle, &failed, failure.at, &delay);
		pg_atomic_fetch_add_u64(&settle.sub->shared->nacked, settle.nchosen);
		CommandCounterIncrement();
	}
	eb_settle_close(&settle);
	PG_RETURN_INT32(settle.nchosen);
}
