/*
 * retention.c
 *	  Dropping what the log need not keep any longer.
 *
 * Segments go whole, from the oldest on, once every subscription has settled
 * them; eventbus.retention_verdict says which.  Where deliveries or dead letters
 * still refer to a few events of one, a compact segment of the same range takes
 * its place.  Nothing waits for a lock here: whoever reads the log comes first,
 * and the next run, a second later, tries again.  What is decided without locks
 * is decided anew with them, because a replay may have come in between.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "dead_letter.h"
#include "eventbus.h"
#include "guc.h"
#include "log.h"
#include "log_segment.h"
#include "partition.h"
#include "queue.h"
#include "reason.h"
#include "retention.h"

/* Deliveries that one run cuts off at most. */
#define CUT_MAX		1000

/* A relay looks at segments that are held less often: it reads the whole queue. */
#define HELD_RECHECK	(10 * USECS_PER_SEC)

typedef enum Verdict
{
	YOUNG,
	HELD,
	DROP,
	COMPACT,
	CUT
} Verdict;

/* Runs a query of one value as the extension's owner. */
static Datum
query(const char *sql, int nargs, Oid *types, Datum *args, bool *isnull)
{
	Datum		value = (Datum) 0;

	if (SPI_execute_with_args(sql, nargs, types, args, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not execute \"%s\"", sql);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
	return value;
}

static Verdict
get_verdict(const EbSegment *segment)
{
	static const char *const names[] = {"young", "held", "drop", "compact", "cut"};
	Oid			types[3] = {REGCLASSOID, INT8OID, INT8OID};
	Datum		args[3] = {ObjectIdGetDatum(segment->relid), Int64GetDatum(segment->first),
	Int64GetDatum(segment->end)};
	bool		isnull;
	char	   *verdict = TextDatumGetCString(query("SELECT eventbus.retention_verdict($1, $2, $3)",
													3, types, args, &isnull));

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(verdict, names[i]) == 0)
			return i;
	elog(ERROR, "unexpected verdict \"%s\"", verdict);
}

/*
 * Locks all that dropping a segment locks, or returns false at once: the parent,
 * the segment, its TOAST table (autovacuum may be at it) and its indexes.
 */
static bool
lock_segment(Oid relid)
{
	Relation	rel;
	ListCell   *lc;
	bool		locked = true;

	if (!ConditionalLockRelationOid(eb_catalog()->event, AccessExclusiveLock) ||
		!ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return false;
	if (get_rel_name(relid) == NULL)
		return false;
	rel = table_open(relid, NoLock);
	if (OidIsValid(rel->rd_rel->reltoastrelid))
		locked = ConditionalLockRelationOid(rel->rd_rel->reltoastrelid, AccessExclusiveLock);
	foreach(lc, RelationGetIndexList(rel))
		locked = locked && ConditionalLockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
	table_close(rel, NoLock);
	return locked;
}

static void
detach(Oid relid, bool archive)
{
	Oid			types[2] = {REGCLASSOID, BOOLOID};
	Datum		args[2] = {ObjectIdGetDatum(relid), BoolGetDatum(archive)};
	bool		isnull;

	(void) query("SELECT eventbus.detach_segment($1, $2)", 2, types, args, &isnull);
}

/* Makes the compact segment and fills it; the old one is detached already. */
static void
keep_needed(const EbSegment *segment)
{
	Oid			types[2] = {REGCLASSOID, REGCLASSOID};
	Datum		args[2];
	bool		isnull;
	char		name[NAMEDATALEN];
	char		lower[32];
	char		upper[32];

	snprintf(name, sizeof(name), "event_" INT64_FORMAT "_kept", segment->first);
	snprintf(lower, sizeof(lower), INT64_FORMAT, segment->first);
	snprintf(upper, sizeof(upper), INT64_FORMAT, segment->end);
	eb_partition_create(&(EbPartitionMake) {
		.parent = "event", .name = name, .lower = lower, .upper = upper,
		.key = "\"offset\"", .index = "event_id", .storage = "fillfactor = 100"
	});
	args[0] = ObjectIdGetDatum(segment->relid);
	args[1] = ObjectIdGetDatum(get_relname_relid(name, eb_catalog()->schema));
	(void) query("SELECT eventbus.keep_needed($1, $2)", 2, types, args, &isnull);
}

/* Takes the segment away; another of its name may come after it in the transaction. */
static void
remove_segment(const EbSegment *segment, Verdict verdict)
{
	bool		archive = (eb_retention_action == EB_RETENTION_DETACH);
	char	   *name = get_rel_name(segment->relid);
	bool		compact = (strstr(name, "_kept") != NULL);

	/* What is compact was archived in full when it became so. */
	archive = archive && !compact;
	detach(segment->relid, archive);
	if (!archive && SPI_execute(psprintf("ALTER TABLE " EB_SCHEMA ".%s RENAME TO %s",
										 quote_identifier(name), quote_identifier(psprintf("%s_gone", name))),
								false, 0) < 0)
		elog(ERROR, "could not rename a segment");
	if (verdict == COMPACT)
		keep_needed(segment);
	if (!archive)
		eb_partition_drop(psprintf("%s_gone", name));
	ereport(LOG,
			(errmsg("eventbus %s segment \"%s\" of the log, offsets " INT64_FORMAT " to " INT64_FORMAT,
					archive ? "archived" : verdict == COMPACT ? "compacted" : "dropped",
					name, segment->first, segment->end - 1)));
}

/* Takes one delivery from its subscription, as its policy says; its events' number. */
static int
cut_delivery(EbQueue *queue, EbSubscription *sub, int64 seq, bool bury)
{
	EbDelivery	d;
	EbFailure	failure = {.at = GetCurrentTimestamp(), .reason = EB_REASON_FAILED,
	.error = "it waited longer than eventbus.max_retention"};
	int64	   *offsets;
	int			n;

	if (!eb_queue_find(queue, seq, &d) || d.lease_until > failure.at)
		return 0;
	offsets = eb_queue_offsets(&d, &n);
	if (eb_queue_delete(queue, &d, false) != TM_Ok)
		return 0;
	if (bury)
	{
		failure.attempt = d.attempt;
		if (n > 0)
			eb_queue_fail(&d, offsets, n, &failure);
		eb_dead_letter_bury(sub, &d, offsets, n, failure.reason, failure.error);
	}
	if (d.lane >= EB_LANE_ORDERED)
		eb_queue_released(sub->shared, &d);
	return n;
}

/* Cuts off the subscriptions that hold a segment past the cap and may not. */
static void
cut(const EbSegment *segment)
{
	Oid			types[1] = {INT8OID};
	Datum		args[1] = {Int64GetDatum(segment->end)};
	EbQueue    *queue = eb_queue_open(RowExclusiveLock);
	SPITupleTable *rows;
	bool		isnull;

	if (SPI_execute_with_args("SELECT d.seq, d.subscription_id, s.lag_policy = 'dead_letter' "
							  "FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id "
							  "WHERE d.last_offset < $1 AND s.lag_policy <> 'keep'",
							  1, types, args, NULL, false, CUT_MAX) != SPI_OK_SELECT)
		elog(ERROR, "could not find what to cut off");
	rows = SPI_tuptable;
	for (uint64 i = 0, n = SPI_processed; i < n; i++)
	{
		int64		seq = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
		int32		id = DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));
		bool		bury = DatumGetBool(SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &isnull));
		EbSubscription *sub = eb_subscription_by_id(id);
		int			events = sub ? cut_delivery(queue, sub, seq, bury) : 0;

		if (events > 0 && !bury &&
			SPI_execute(psprintf("UPDATE eventbus.subscription SET skipped = skipped + %d WHERE id = %d",
								 events, id), false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "could not count what was skipped");
	}
	eb_queue_close(queue);
}

static void
prune_progress(void)
{
	EbSegment	segment;
	Oid			types[1] = {INT8OID};
	Datum		args[1];
	bool		isnull;

	if (!eb_log_segment_nth(0, &segment) || segment.first <= EB_NO_OFFSET + 1)
		return;
	args[0] = Int64GetDatum(segment.first);
	(void) query("SELECT eventbus.prune_progress($1)", 1, types, args, &isnull);
}

/* SPI is connected, as the owner; true if somebody holds a segment that is due. */
static bool
look_at_segments(void)
{
	EbSegment	segment;
	bool		held = false;

	/* The last one is being written, or will be. */
	for (int i = 0; i < eb_log_segment_count() - 1 && eb_log_segment_nth(i, &segment); i++)
	{
		Verdict		verdict = get_verdict(&segment);

		if (verdict == YOUNG)
			return held;
		if (verdict == CUT)
		{
			cut(&segment);
			return false;
		}
		held |= (verdict == HELD);
		if (verdict == HELD)
			continue;
		if (!lock_segment(segment.relid))
			return false;
		verdict = get_verdict(&segment);
		if (verdict == DROP || verdict == COMPACT)
			remove_segment(&segment, verdict);
		return false;
	}
	return held;
}

/* See retention.h. */
void
eb_retention_run(void)
{
	static TimestampTz next_look = 0;
	EbOwnerScope scope;

	PushActiveSnapshot(GetTransactionSnapshot());
	eb_owner_begin(&scope);
	SPI_connect();
	prune_progress();
	if (!AmBackgroundWorkerProcess() || GetCurrentTimestamp() >= next_look)
		next_look = look_at_segments() ? GetCurrentTimestamp() + HELD_RECHECK : 0;
	SPI_finish();
	eb_owner_end(&scope);
	PopActiveSnapshot();
}
