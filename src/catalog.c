/*
 * catalog.c
 *	  The oids of the extension and of its tables, cached in the backend.
 *
 * The cache is dropped whole by any relcache invalidation of one of the cached
 * tables (DROP EXTENSION reaches them all) and filled at the next use: fill a
 * copy, then publish it, so an error half-way leaves the cache invalid.
 *
 * Library and SQL are installed apart, so that one may be newer than the other.
 * The version is compared when the cache is filled; from then on a flag is.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog.h"
#include "eventbus.h"

PG_FUNCTION_INFO_V1(eventbus_library);

/*
 * Versions of the SQL that this library works with: its own, which the Makefile
 * takes from the control file, and those before it whose every C function is
 * still here and means the same.
 */
static const char *const served[] = {EB_VERSION};

static EbCatalog cache;
static bool valid = false;
static bool registered = false;

static void
invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == cache.event ||
		relid == cache.subscription || relid == cache.delivery)
		valid = false;
}

/* Reads the extension's row of pg_extension; false if it is not installed. */
static bool
read_extension(EbCatalog *c)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(EB_EXTENSION));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);

		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion,
										   RelationGetDescr(rel), &isnull);

		c->extension = form->oid;
		c->owner = form->extowner;
		c->api_schema = form->extnamespace;
		strlcpy(c->version, TextDatumGetCString(version), EB_VERSION_LEN);
		for (int i = 0; i < lengthof(served); i++)
			c->served |= strcmp(c->version, served[i]) == 0;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return OidIsValid(c->extension);
}

static void
read_store(const EbCatalog *c, EbStoreOids *store, const char *table,
		   const char *index0, const char *index1)
{
	store->table = get_relname_relid(table, c->schema);
	store->index[0] = get_relname_relid(psprintf("%s_%s", table, index0), c->schema);
	store->index[1] = get_relname_relid(psprintf("%s_%s", table, index1), c->schema);
}

static void
read_stores(EbCatalog *c)
{
	for (int i = 0; i < EB_STORES; i++)
		read_store(c, &c->queue[i], psprintf("delivery_%d", i), "seq", "lane");
	for (int i = 0; i < EB_PROGRESS_KEPT; i++)
		read_store(c, &c->progress[i], psprintf("progress_%d", i), "position", "at");
	read_store(c, &c->progress[EB_PROGRESS_KEPT], "progress_kept", "position", "at");
}

/* The cache, or NULL if the extension is not installed in this database. */
const EbCatalog *
eb_catalog_if_installed(void)
{
	EbCatalog	c = {0};

	if (valid)
		return &cache;
	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		registered = true;
	}
	if (!read_extension(&c))
		return NULL;
	c.schema = get_namespace_oid(EB_SCHEMA, true);
	if (!OidIsValid(c.schema))
		return NULL;

	c.event = get_relname_relid("event", c.schema);
	c.dedup = get_relname_relid("dedup", c.schema);
	c.once = get_relname_relid("once", c.schema);
	c.subscription = get_relname_relid("subscription", c.schema);
	c.seek = get_relname_relid("seek", c.schema);
	c.delivery = get_relname_relid("delivery", c.schema);
	read_stores(&c);
	c.delivery_number = get_relname_relid("delivery_number", c.schema);
	c.privilege = get_relname_relid("privilege", c.schema);
	if (!OidIsValid(c.event) || !OidIsValid(c.privilege))
		return NULL;			/* CREATE EXTENSION is not through yet */
	cache = c;
	valid = true;
	return &cache;
}

/* Compares "1.10.2" and "1.9" by their numbers: negative, zero or positive. */
static int
compare_versions(const char *a, const char *b)
{
	while (*a != '\0' || *b != '\0')
	{
		char	   *a_end;
		char	   *b_end;
		long		x = strtol(a, &a_end, 10);
		long		y = strtol(b, &b_end, 10);

		if (x != y)
			return x < y ? -1 : 1;
		a = a_end + strcspn(a_end, "0123456789");
		b = b_end + strcspn(b_end, "0123456789");
	}
	return 0;
}

static void
report_version(const EbCatalog *c)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the library of eventbus has version %s, and the extension version %s",
					EB_VERSION, c->version),
			 compare_versions(c->version, EB_VERSION) < 0
			 ? errhint("Run ALTER EXTENSION eventbus UPDATE.")
			 : errhint("Install the library of version %s, if that is not done, and restart the server.",
					   c->version)));
}

/*
 * The cache; errors with 55000 if the extension is not installed here, or in a
 * version that this library does not serve.
 */
const EbCatalog *
eb_catalog(void)
{
	const EbCatalog *c = eb_catalog_if_installed();

	if (c == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension eventbus is not installed in this database"),
				 errhint("Run CREATE EXTENSION eventbus.")));
	if (unlikely(!c->served))
		report_version(c);
	return c;
}

/* See catalog.h. */
void
eb_catalog_renew(void)
{
	valid = false;
	CacheInvalidateRelcacheByRelid(eb_catalog()->event);
}

/* eventbus.library(OUT version text, OUT serves boolean) */
Datum
eventbus_library(PG_FUNCTION_ARGS)
{
	Datum		values[2] = {CStringGetTextDatum(EB_VERSION)};
	bool		nulls[2] = {0};
	const EbCatalog *c = eb_catalog_if_installed();
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != 2)
		elog(ERROR, "unexpected result type");
	values[1] = BoolGetDatum(c != NULL && c->served);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * Takes on the extension owner's rights and a fixed search_path, until
 * eb_owner_end.  An error in between is undone by the (sub)transaction's abort,
 * as for a SECURITY DEFINER function.
 */
void
eb_owner_begin(EbOwnerScope *scope)
{
	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(eb_catalog()->owner,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	scope->guc_nest = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

void
eb_owner_end(EbOwnerScope *scope)
{
	AtEOXact_GUC(false, scope->guc_nest);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}
