/*
 * dedup.c
 *	  Ids that are accepted once: at the door, and in eb_once (decision 4).
 *
 * A claim is a row under a unique index, written as INSERT ... ON CONFLICT DO
 * NOTHING writes it: look, insert speculatively, look whether somebody else was
 * quicker.  Going below the executor spares the caller its serialization error:
 * under REPEATABLE READ a duplicate that its snapshot cannot see is a duplicate all
 * the same, not a reason to fail.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "dedup.h"
#include "dedup_partition.h"
#include "guc.h"
#include "uuid7.h"

#define AHEAD_MINUTES		5

/* An open partition with what a claim needs. */
typedef struct EbClaim
{
	Relation	rel;
	Relation	index;
	IndexInfo  *info;
	TupleTableSlot *slot;		/* the new row */
	TupleTableSlot *found;		/* another's */
	int			nkeys;
	Datum		keys[2];		/* the id, and the scope in eventbus.once */
} EbClaim;

/* What to do about an id that is refused, by table. */
static const struct
{
	const char *not_v7;
	const char *too_old;
}			hints[] = {
	[EB_DEDUP_EMIT] = {
		gettext_noop("Make the id as a UUIDv7 when the event happens, or leave event_id out."),
		gettext_noop("Raise eventbus.dedup_window, or emit the event with a new id."),
	},
	[EB_DEDUP_ONCE] = {
		gettext_noop("Pass the event_id that eb_fetch returned."),
		gettext_noop("Raise eventbus.dedup_window to more than an event may wait."),
	},
};

void
eb_dedup_check(EbDedupTable table, const pg_uuid_t *id)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz at;

	if (!eb_uuid7_is_v7(id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event_id is not a version 7 UUID"),
				 errhint("%s", _(hints[table].not_v7))));
	at = eb_uuid7_time(id);
	if (at < now - (int64) eb_dedup_window * USECS_PER_SEC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event_id is older than eventbus.dedup_window"),
				 errdetail("Its timestamp is %s; whether it was seen before is not known any more.",
						   timestamptz_to_str(at)),
				 errhint("%s", _(hints[table].too_old))));
	if (at > now + AHEAD_MINUTES * USECS_PER_MINUTE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event_id is more than %d minutes in the future", AHEAD_MINUTES),
				 errdetail("Its timestamp is %s.", timestamptz_to_str(at)),
				 errhint("Check the clock of the machine that made the id.")));
}

/* Opens the partition; its primary key is its only unique index. */
static void
open_claim(EbClaim *claim, EbDedupTable table, const pg_uuid_t *id)
{
	claim->rel = eb_dedup_partition_open(table, id, RowExclusiveLock);
	claim->index = index_open(RelationGetPrimaryKeyIndex(claim->rel, false), RowExclusiveLock);
	claim->info = BuildIndexInfo(claim->index);
	claim->slot = table_slot_create(claim->rel, NULL);
	claim->found = table_slot_create(claim->rel, NULL);
}

static void
close_claim(EbClaim *claim)
{
	ExecDropSingleTupleTableSlot(claim->slot);
	ExecDropSingleTupleTableSlot(claim->found);
	pfree(claim->info);
	index_close(claim->index, NoLock);
	table_close(claim->rel, NoLock);
}

/*
 * Looks for the id, in the eyes of everybody.  True if somebody's claim stands;
 * *busy is the transaction (and its speculative token) whose outcome is still open.
 */
static bool
is_claimed(EbClaim *claim, TransactionId *busy, uint32 *token, ItemPointer tid)
{
	SnapshotData dirty;
	IndexScanDesc scan;
	ScanKeyData keys[2];
	bool		claimed = false;

	*busy = InvalidTransactionId;
	InitDirtySnapshot(dirty);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_UUID_EQ, claim->keys[0]);
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, claim->keys[1]);
	scan = eb_index_beginscan(claim->rel, claim->index, &dirty, claim->nkeys);
	index_rescan(scan, keys, claim->nkeys, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, claim->found))
	{
		*busy = TransactionIdIsValid(dirty.xmin) ? dirty.xmin : dirty.xmax;
		*token = dirty.speculativeToken;
		*tid = claim->found->tts_tid;
		claimed = true;
	}
	index_endscan(scan);
	ExecClearTuple(claim->found);
	return claimed;
}

/* Waits until nobody's claim is undecided; true if one stands. */
static bool
wait_until_decided(EbClaim *claim)
{
	TransactionId busy;
	ItemPointerData tid;
	uint32		token;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_claimed(claim, &busy, &token, &tid))
			return false;
		if (!TransactionIdIsValid(busy))
			return true;
		if (token != 0)
			SpeculativeInsertionWait(busy, token);
		else
			XactLockTableWait(busy, claim->rel, &tid, XLTW_InsertIndex);
	}
}

/* Inserts the claim; false if somebody was quicker, and nothing is left then. */
static bool
insert_claim(EbClaim *claim)
{
	bool		nulls[2] = {0};
	uint32		token;
	bool		inserted;

	ExecClearTuple(claim->slot);
	for (int i = 0; i < claim->nkeys; i++)
	{
		claim->slot->tts_values[i] = claim->keys[i];
		claim->slot->tts_isnull[i] = false;
	}
	ExecStoreVirtualTuple(claim->slot);

	token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	table_tuple_insert_speculative(claim->rel, claim->slot, GetCurrentCommandId(true),
								   0, NULL, token);
	inserted = index_insert(claim->index, claim->keys, nulls, &claim->slot->tts_tid,
							claim->rel, UNIQUE_CHECK_PARTIAL, false, claim->info);
	table_tuple_complete_speculative(claim->rel, claim->slot, token, inserted);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	return inserted;
}

static bool
try_claim(EbClaim *claim, EbDedupTable table, const pg_uuid_t *id)
{
	bool		claimed = false;

	open_claim(claim, table, id);
	while (!claimed && !wait_until_decided(claim))
		claimed = insert_claim(claim);
	close_claim(claim);
	return claimed;
}

bool
eb_dedup_claim(const pg_uuid_t *id)
{
	EbClaim		claim = {.nkeys = 1, .keys = {UUIDPGetDatum(id)}};

	return try_claim(&claim, EB_DEDUP_EMIT, id);
}

bool
eb_dedup_claim_once(const pg_uuid_t *id, Datum scope)
{
	EbClaim		claim = {.nkeys = 2, .keys = {UUIDPGetDatum(id), scope}};

	return try_claim(&claim, EB_DEDUP_ONCE, id);
}
