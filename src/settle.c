/*
 * settle.c
 *	  A receipt's way back: find its delivery, check the lease, pick the events.
 *
 * A receipt is fenced: its token must be that of the row's current lease.  Who
 * comes second at one row waits for the first's outcome in the row operation
 * itself, and then finds the row gone or changed: the receipt is stale.  Unless
 * the first was the relay, which has moved the row to another store as it was.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "fault.h"
#include "log.h"
#include "settle.h"
#include "settle_recent.h"

/* Errors with 55000: the lease of this receipt is over. */
void
eb_settle_stale(int64 receipt)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("receipt " INT64_FORMAT " is stale", receipt),
			 errdetail("Its delivery was settled, or its lease ran out and another consumer took it over."),
			 errhint("Fetch again; use a longer lease or eb_extend if the work takes longer than the lease.")));
}

/* Finds the delivery of a receipt and checks the caller's right to it. */
void
eb_settle_open(EbSettle *settle, int64 receipt)
{
	EbDelivery *d = &settle->delivery;

	memset(settle, 0, sizeof(EbSettle));
	settle->queue = eb_queue_open(RowExclusiveLock);
	if (!eb_recent_find(settle->queue, receipt, d) &&
		!eb_queue_find(settle->queue, eb_receipt_seq(receipt), d))
		eb_settle_stale(receipt);
	settle->sub = eb_subscription_by_id(d->subscription_id);
	if (settle->sub == NULL)
		eb_settle_stale(receipt);	/* unsubscribed */
	eb_subscription_check_consumer(settle->sub);
	if ((d->token != eb_receipt_token(receipt) || d->lease_until == 0) &&
		!EB_FAULT("receipt_not_compared"))
		eb_settle_stale(receipt);
	settle->found = *d;
	eb_queue_claimed(settle->sub->shared, d);	/* as it is, if this rolls back */
}

void
eb_settle_close(EbSettle *settle)
{
	eb_queue_close(settle->queue);
}

static int
compare_uuid(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* The ids of an array argument, sorted, each once; errors with 22023 for a NULL. */
static pg_uuid_t *
sorted_ids(ArrayType *array, int *n)
{
	Datum	   *elems;
	bool	   *nulls;
	pg_uuid_t  *ids;

	deconstruct_array(array, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &elems, &nulls, n);
	ids = palloc(sizeof(pg_uuid_t) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("event_ids must not contain nulls"),
					 errhint("Leave event_ids out to mean the whole delivery.")));
		ids[i] = *DatumGetUUIDP(elems[i]);
	}
	qsort(ids, *n, sizeof(pg_uuid_t), compare_uuid);
	*n = (int) qunique(ids, *n, sizeof(pg_uuid_t), compare_uuid);
	return ids;
}

static void
not_among(const pg_uuid_t *id, const EbDelivery *d)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("event %s is not among the events of receipt " INT64_FORMAT,
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))),
					eb_receipt(d)),
			 errhint("It was settled already, or belongs to another delivery.")));
}

/* Puts one event to the chosen or to the others. */
static void
split_event(EbSettle *settle, int64 offset, const pg_uuid_t *id,
			const pg_uuid_t *ids, int nids, bool *found)
{
	const pg_uuid_t *hit = bsearch(id, ids, nids, sizeof(pg_uuid_t), compare_uuid);

	if (hit != NULL)
	{
		found[hit - ids] = true;
		settle->chosen[settle->nchosen++] = offset;
	}
	else
		settle->others[settle->nothers++] = offset;
}

/* Sorts the delivery's events into chosen and others; notes which ids it found. */
static void
split_by_log(EbSettle *settle, const pg_uuid_t *ids, int nids, bool *found)
{
	const EbDelivery *d = &settle->delivery;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EbLogScan  *scan = eb_log_scan_begin(d->first_offset, d->last_offset, snapshot);
	TupleTableSlot *event;
	int			i = 0;

	if (d->offsets != NULL)
		eb_log_scan_rescan_list(scan, d->offsets, d->events);
	while (settle->nchosen + settle->nothers < d->events &&
		   (event = eb_log_scan_next(scan)) != NULL)
	{
		bool		isnull;
		int64		offset = DatumGetInt64(slot_getattr(event, EB_LOG_OFFSET, &isnull));

		/* the log may not have them any more */
		while (d->offsets != NULL && d->offsets[i] < offset)
			settle->others[settle->nothers++] = d->offsets[i++];
		i++;
		split_event(settle, offset, DatumGetUUIDP(slot_getattr(event, EB_LOG_EVENT_ID, &isnull)),
					ids, nids, found);
	}
	while (d->offsets != NULL && i < d->events)
		settle->others[settle->nothers++] = d->offsets[i++];
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
}

/*
 * Splits the delivery's events into those with the given ids and the others; all
 * are chosen if event_ids is NULL.
 */
void
eb_settle_choose(EbSettle *settle, ArrayType *event_ids)
{
	EbDelivery *d = &settle->delivery;
	int			nids;
	pg_uuid_t  *ids;
	bool	   *found;
	EbRecentEvent *recent;

	if (event_ids == NULL)
	{
		settle->chosen = eb_queue_offsets(d, &settle->nchosen);
		return;
	}
	ids = sorted_ids(event_ids, &nids);
	found = palloc0(Max(nids, 1) * sizeof(bool));
	settle->chosen = palloc(Max(d->events, 1) * sizeof(int64));
	settle->others = palloc(Max(d->events, 1) * sizeof(int64));
	recent = eb_recent_events(d);
	for (int i = 0; recent != NULL && i < d->events; i++)
		split_event(settle, recent[i].offset, &recent[i].id, ids, nids, found);
	if (recent == NULL)
		split_by_log(settle, ids, nids, found);
	for (int i = 0; i < nids; i++)
		if (!found[i])
			not_among(&ids[i], d);
}

/* Whether d, which somebody else has deleted, is in another store as it was. */
static bool
was_moved(EbSettle *settle, EbDelivery *d)
{
	const EbDelivery *was = &settle->found;
	EbDelivery	now;

	if (!eb_queue_find(settle->queue, d->seq, &now) || now.store == was->store ||
		now.token != was->token || now.lease_until != was->lease_until ||
		now.first_offset != was->first_offset || now.events != was->events)
		return false;
	settle->found = now;
	d->store = now.store;
	d->tid = now.tid;
	return true;
}

/* Replaces the delivery's row by d, which is of the same number. */
static void
replace(EbSettle *settle, EbDelivery *d)
{
	TM_Result	result;

	do
		result = eb_queue_update(settle->queue, d, true);
	while (result != TM_Ok && was_moved(settle, d));
	if (result != TM_Ok)
		eb_settle_stale(eb_receipt(d));
	eb_recent_moved(d);
}

/* Makes the lease end at that time. */
void
eb_settle_extend(EbSettle *settle, TimestampTz until)
{
	settle->delivery.lease_until = until;
	replace(settle, &settle->delivery);
}

/* Takes the chosen events out of the delivery; the others stay as leased. */
void
eb_settle_remove_chosen(EbSettle *settle)
{
	EbDelivery *d = &settle->delivery;

	if (settle->nothers == 0)
	{
		TM_Result	result;

		do
			result = eb_queue_delete(settle->queue, d, true);
		while (result != TM_Ok && was_moved(settle, d));
		if (result != TM_Ok)
			eb_settle_stale(eb_receipt(d));
		if (d->lane >= EB_LANE_ORDERED)
			eb_queue_released(settle->sub->shared, d);
	}
	else if (settle->nchosen > 0)
	{
		eb_queue_set_offsets(d, settle->others, settle->nothers);
		replace(settle, d);
	}
}
