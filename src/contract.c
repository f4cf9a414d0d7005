/*
 * contract.c
 *		The registry of contracts as a backend sees it, and the check of a
 *		payload at emit.
 *
 * The table eventbus.type_version is read straight, not through SPI: the
 * caller needs no right on it, and emitting must stay cheap.  The cache holds the
 * newest version of every type and pattern; schemas are compiled when first
 * used.  A relcache invalidation of the table (eb_register_type and eb_drop_type
 * send one) marks it stale, and the next use builds it anew; built aside and
 * then published, so an error half-way leaves it stale.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "contract.h"
#include "eventbus.h"
#include "guc.h"
#include "topic.h"

/* violations named in an error's DETAIL */
#define DETAIL_VIOLATIONS	20

/* types remembered that have no contract of their own, before starting over */
#define MAX_RESOLVED		10000

/* The newest contract of a type or pattern. */
typedef struct EbContract
{
	char		name[EB_TYPE_MAX_LEN + 1];	/* hash key */
	int			version;
	bool		pattern;
	EbSchema   *schema;			/* compiled at first use */
} EbContract;

/* Which contract a type obeys; NULL: none. */
typedef struct EbResolution
{
	char		type[EB_TYPE_MAX_LEN + 1];	/* hash key */
	EbContract *contract;
} EbResolution;

static Oid	relid = InvalidOid;
static bool valid = false;
static bool invalidated = false;	/* since load() began to read */
static bool registered = false;
static MemoryContext context = NULL;
static HTAB *contracts;			/* of EbContract */
static HTAB *resolutions;		/* of EbResolution */
static List *patterns;			/* of EbContract */

static void
invalidate(Datum arg, Oid changed)
{
	if (changed == InvalidOid || changed == relid)
	{
		valid = false;
		invalidated = true;
	}
}

Oid
eb_contract_relid(void)
{
	Oid			oid = get_relname_relid("type_version", eb_catalog()->schema);

	if (!OidIsValid(oid))
		elog(ERROR, "table eventbus.type_version does not exist");
	return oid;
}

static HTAB *
make_hash(const char *name, Size entry)
{
	HASHCTL		ctl = {0};

	ctl.keysize = EB_TYPE_MAX_LEN + 1;
	ctl.entrysize = entry;
	ctl.hcxt = CurrentMemoryContext;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* Notes the newest version of every name; the schemas stay on disk. */
static void
read_registry(Relation rel, Snapshot snapshot)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		char	   *name = TextDatumGetCString(slot_getattr(slot, Anum_type_version_type, &isnull));
		int			version = DatumGetInt32(slot_getattr(slot, Anum_type_version_version, &isnull));
		EbContract *contract;
		bool		found;

		contract = hash_search(contracts, name, HASH_ENTER, &found);
		if (!found)
		{
			contract->version = 0;
			contract->schema = NULL;
			contract->pattern = strpbrk(name, "*>") != NULL;
			if (contract->pattern)
				patterns = lappend(patterns, contract);
		}
		contract->version = Max(contract->version, version);
		pfree(name);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

static void
load(void)
{
	MemoryContext old;
	Relation	rel;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		registered = true;
	}
	if (context == NULL)
		context = AllocSetContextCreate(CacheMemoryContext, "eventbus contracts",
										ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(context);
	relid = eb_contract_relid();
	rel = table_open(relid, AccessShareLock);

	/*
	 * Mark, fill, validate: an error on the way leaves valid unset, and so does
	 * an invalidation of what is being read.
	 */
	invalidated = false;
	old = MemoryContextSwitchTo(context);
	contracts = make_hash("eventbus contracts", sizeof(EbContract));
	resolutions = make_hash("eventbus contract by type", sizeof(EbResolution));
	patterns = NIL;
	PushActiveSnapshot(GetLatestSnapshot());
	read_registry(rel, GetActiveSnapshot());
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	valid = !invalidated;
	table_close(rel, AccessShareLock);
}

/* The schema of a contract from its row. */
static EbSchema *
compile(const EbContract *contract)
{
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key[2];
	HeapTuple	tuple;
	EbSchema   *schema = NULL;
	Oid			index = RelationGetPrimaryKeyIndex(rel, false);

	PushActiveSnapshot(GetLatestSnapshot());
	ScanKeyInit(&key[0], Anum_type_version_type, BTEqualStrategyNumber,
				F_TEXTEQ, CStringGetTextDatum(contract->name));
	ScanKeyInit(&key[1], Anum_type_version_version, BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(contract->version));
	scan = systable_beginscan(rel, index, true, GetActiveSnapshot(), 2, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, Anum_type_version_schema,
										 RelationGetDescr(rel), &isnull);

		schema = eb_schema_compile_document(DatumGetJsonbP(datum), context, false);
	}
	systable_endscan(scan);
	PopActiveSnapshot();
	table_close(rel, AccessShareLock);
	return schema;
}

/* The most specific pattern that matches; of two alike, the first by name. */
static EbContract *
match_pattern(const char *type)
{
	EbContract *best = NULL;
	ListCell   *lc;

	foreach(lc, patterns)
	{
		EbContract *contract = lfirst(lc);
		int			diff;

		if (!eb_topic_match_one(contract->name, type, strlen(type)))
			continue;
		diff = best ? eb_topic_specificity(contract->name) -
			eb_topic_specificity(best->name) : 1;
		if (diff > 0 || (diff == 0 && strcmp(contract->name, best->name) < 0))
			best = contract;
	}
	return best;
}

static EbContract *
resolve(const char *type)
{
	EbResolution *resolution;
	bool		found;

	if (!valid)
		load();
	if (hash_get_num_entries(contracts) == 0 || strlen(type) > EB_TYPE_MAX_LEN)
		return NULL;
	resolution = hash_search(resolutions, type, HASH_FIND, NULL);
	if (resolution == NULL)
	{
		EbContract *contract = hash_search(contracts, type, HASH_FIND, NULL);

		if (contract == NULL)
			contract = match_pattern(type);
		if (hash_get_num_entries(resolutions) >= MAX_RESOLVED)
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			hash_destroy(resolutions);
			resolutions = make_hash("eventbus contract by type", sizeof(EbResolution));
			MemoryContextSwitchTo(old);
		}
		resolution = hash_search(resolutions, type, HASH_ENTER, &found);
		resolution->contract = contract;
	}
	return resolution->contract;
}

const EbSchema *
eb_contract_find(const char *type, const char **name, int *version)
{
	EbContract *contract = resolve(type);

	for (int attempt = 0; contract != NULL && contract->schema == NULL; attempt++)
	{
		EbSchema   *schema = compile(contract);

		/* reading the row may have let in news of a change */
		if (valid && schema != NULL)
			contract->schema = schema;
		else if (attempt > 10)
			elog(ERROR, "contract of \"%s\" keeps changing", type);
		else
		{
			valid = false;
			contract = resolve(type);
		}
	}
	if (contract == NULL)
		return NULL;
	*name = contract->name;
	*version = contract->version;
	return contract->schema;
}

static void
append_violation(StringInfo buf, const EbViolation *v)
{
	appendStringInfo(buf, "%s: %s [%s]",
					 *v->instance_path ? v->instance_path : "payload",
					 v->message, v->keyword);
}

static void
report(const char *type, const char *name, int version, List *violations)
{
	StringInfoData first;
	StringInfoData detail;
	int			n = 0;
	ListCell   *lc;

	initStringInfo(&first);
	initStringInfo(&detail);
	append_violation(&first, linitial(violations));
	foreach(lc, violations)
	{
		if (n++ == DETAIL_VIOLATIONS)
		{
			appendStringInfoString(&detail, "\n... and more");
			break;
		}
		if (n > 1)
			appendStringInfoChar(&detail, '\n');
		append_violation(&detail, lfirst(lc));
		appendStringInfo(&detail, " (schema %s)", ((EbViolation *) lfirst(lc))->schema_path);
	}
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("event \"%s\" breaks its contract \"%s\" version %d: %s",
					type, name, version, first.data),
			 errdetail("%s", detail.data),
			 errhint("eb_validate(type, payload) lists every violation.")));
}

void
eb_contract_check(const char *type, Jsonb *payload)
{
	const char *name;
	int			version;
	const EbSchema *schema = eb_contract_find(type, &name, &version);

	if (schema == NULL)
	{
		if (eb_unknown_types == EB_UNKNOWN_REJECT)
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("event type \"%s\" has no contract", type),
					 errhint("Register one with eb_register_type, or set eventbus.unknown_types to allow.")));
		return;
	}
	if (!eb_schema_eval_valid(schema, payload))
		report(type, name, version,
			   eb_schema_eval_violations(schema, payload, DETAIL_VIOLATIONS + 1));
}
