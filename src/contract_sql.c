/*
 * contract_sql.c
 *		eb_register_type, eb_drop_type, eb_validate and their kin.
 *
 * Changes of the registry run as the extension's owner; whoever may execute
 * the function needs no right on the table.  A table lock that excludes itself
 * but not readers puts registrations of one type in a row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "catalog.h"
#include "compat.h"
#include "contract.h"
#include "eventbus.h"
#include "schema_compat.h"
#include "schema_json.h"
#include "schema_regex.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(eventbus_register_type);
PG_FUNCTION_INFO_V1(eventbus_drop_type);
PG_FUNCTION_INFO_V1(eventbus_validate);
PG_FUNCTION_INFO_V1(eventbus_schema_valid);
PG_FUNCTION_INFO_V1(eventbus_schema_violations);
PG_FUNCTION_INFO_V1(eventbus_schema_pattern);

/* violations that a function returns at most */
#define MAX_VIOLATIONS		10000

/* The newest registered version of a type, as eb_register_type sees it. */
typedef struct EbNewest
{
	int			version;		/* 0: none */
	Jsonb	   *schema;
	char	   *compatibility;
} EbNewest;

/* A type, or a topic pattern (which eb_topic_compile checks). */
static void
check_name(const char *name)
{
	if (strpbrk(name, "*>!") == NULL)
		eb_topic_check_type(name, strlen(name));
	else if (*name == '!' || strlen(name) > EB_TYPE_MAX_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is neither an event type nor a topic pattern", name),
				 errhint("A contract is for a type such as order.placed or for a pattern such as order.*.")));
	else
		(void) eb_topic_compile(1, &name);
}

static void
check_not_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be NULL", name)));
}

static void
execute(const char *sql, int nargs, Oid *types, Datum *values, int expected)
{
	if (SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) != expected)
		elog(ERROR, "unexpected result of \"%s\"", sql);
}

static EbNewest
read_newest(const char *name, MemoryContext result)
{
	EbNewest	newest = {0};
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	bool		isnull;
	MemoryContext old;

	execute("SELECT version, schema, compatibility FROM eventbus.type_version"
			" WHERE type = $1 ORDER BY version DESC LIMIT 1",
			1, types, values, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return newest;
	newest.version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
												 SPI_tuptable->tupdesc, 1, &isnull));
	old = MemoryContextSwitchTo(result);
	newest.schema = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0],
													 SPI_tuptable->tupdesc, 2, &isnull));
	newest.compatibility = TextDatumGetCString(SPI_getbinval(SPI_tuptable->vals[0],
															 SPI_tuptable->tupdesc, 3, &isnull));
	MemoryContextSwitchTo(old);
	return newest;
}

static void
write_version(const char *name, int version, Jsonb *schema,
			  const char *compatibility, bool insert)
{
	Oid			types[] = {TEXTOID, INT4OID, TEXTOID, JSONBOID};
	Datum		values[4];

	values[0] = CStringGetTextDatum(name);
	values[1] = Int32GetDatum(version);
	values[2] = CStringGetTextDatum(compatibility);
	values[3] = JsonbPGetDatum(schema);
	if (insert)
		execute("INSERT INTO eventbus.type_version (type, version, compatibility, schema)"
				" VALUES ($1, $2, $3, $4)", 4, types, values, SPI_OK_INSERT);
	else
		execute("UPDATE eventbus.type_version SET compatibility = $3"
				" WHERE type = $1 AND version = $2", 3, types, values, SPI_OK_UPDATE);
}

static bool
same_schema(Jsonb *a, Jsonb *b)
{
	EbJson		ja = eb_schema_json_root(a);
	EbJson		jb = eb_schema_json_root(b);

	return eb_schema_json_equal(&ja, &jb);
}

/* As the owner, inside SPI: the version that the schema has now. */
static int
register_version(const char *name, Jsonb *schema, const char *compatibility)
{
	MemoryContext caller = CurrentMemoryContext;
	EbNewest	newest;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	newest = read_newest(name, caller);
	if (newest.version > 0 && same_schema(newest.schema, schema))
	{
		if (strcmp(newest.compatibility, compatibility) != 0)
			write_version(name, newest.version, schema, compatibility, false);
	}
	else
	{
		if (newest.version > 0)
			eb_schema_compat_check(name, newest.version, newest.schema, schema,
								   compatibility);
		newest.version++;
		write_version(name, newest.version, schema, compatibility, true);
	}
	SPI_finish();
	return newest.version;
}

static void
check_writable(const char *what)
{
	PreventCommandDuringRecovery(what);
	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
}

Datum
eventbus_register_type(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *compatibility;
	Jsonb	   *schema;
	EbOwnerScope scope;
	int			version;
	Oid			relid;

	check_writable("eb_register_type");
	check_not_null(fcinfo, 0, "type");
	check_not_null(fcinfo, 1, "schema");
	check_not_null(fcinfo, 2, "compatibility");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	schema = PG_GETARG_JSONB_P(1);
	compatibility = text_to_cstring(PG_GETARG_TEXT_PP(2));
	check_name(name);
	eb_schema_compat_check_mode(compatibility);
	eb_schema_free(eb_schema_compile_document(schema, CurrentMemoryContext, true));

	relid = eb_contract_relid();
	eb_owner_begin(&scope);
	LockRelationOid(relid, ShareRowExclusiveLock);
	version = register_version(name, schema, compatibility);
	CacheInvalidateRelcacheByRelid(relid);
	eb_owner_end(&scope);
	PG_RETURN_INT32(version);
}

Datum
eventbus_drop_type(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID};
	Datum		values[1];
	EbOwnerScope scope;
	Oid			relid;
	bool		dropped;

	check_writable("eb_drop_type");
	check_not_null(fcinfo, 0, "type");
	values[0] = PG_GETARG_DATUM(0);
	relid = eb_contract_relid();
	eb_owner_begin(&scope);
	LockRelationOid(relid, ShareRowExclusiveLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute("DELETE FROM eventbus.type_version WHERE type = $1",
			1, types, values, SPI_OK_DELETE);
	dropped = SPI_processed > 0;
	SPI_finish();
	CacheInvalidateRelcacheByRelid(relid);
	eb_owner_end(&scope);
	PG_RETURN_BOOL(dropped);
}

static void
put_violations(ReturnSetInfo *rsinfo, List *violations)
{
	ListCell   *lc;

	foreach(lc, violations)
	{
		EbViolation *v = lfirst(lc);
		Datum		values[4];
		bool		nulls[4] = {0};

		values[0] = CStringGetTextDatum(v->instance_path);
		values[1] = CStringGetTextDatum(v->schema_path);
		values[2] = CStringGetTextDatum(v->keyword);
		values[3] = CStringGetTextDatum(v->message);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

Datum
eventbus_validate(PG_FUNCTION_ARGS)
{
	char	   *type;
	const char *name;
	int			version;
	const EbSchema *schema;

	check_not_null(fcinfo, 0, "type");
	check_not_null(fcinfo, 1, "payload");
	type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	eb_topic_check_type(type, strlen(type));
	InitMaterializedSRF(fcinfo, 0);
	schema = eb_contract_find(type, &name, &version);
	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("event type \"%s\" has no contract", type),
				 errhint("Register one with eb_register_type.")));
	put_violations((ReturnSetInfo *) fcinfo->resultinfo,
				   eb_schema_eval_violations(schema, PG_GETARG_JSONB_P(1), MAX_VIOLATIONS));
	return (Datum) 0;
}

/* The schema of the last call, in case that this one has the same. */
typedef struct EbSchemaCache
{
	Jsonb	   *document;
	EbSchema   *schema;
} EbSchemaCache;

static const EbSchema *
compile_cached(FunctionCallInfo fcinfo)
{
	EbSchemaCache *cache = fcinfo->flinfo->fn_extra;
	Jsonb	   *document = PG_GETARG_JSONB_P(0);

	if (cache == NULL)
		fcinfo->flinfo->fn_extra = cache =
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(EbSchemaCache));
	else if (cache->schema && VARSIZE(cache->document) == VARSIZE(document) &&
			 memcmp(cache->document, document, VARSIZE(document)) == 0)
		return cache->schema;
	if (cache->schema)
	{
		eb_schema_free(cache->schema);
		cache->schema = NULL;
		pfree(cache->document);
	}
	cache->document = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, VARSIZE(document));
	memcpy(cache->document, document, VARSIZE(document));
	cache->schema = eb_schema_compile_document(document, fcinfo->flinfo->fn_mcxt, false);
	return cache->schema;
}

/* eb_schema_valid(schema, document) -> boolean */
Datum
eventbus_schema_valid(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(eb_schema_eval_valid(compile_cached(fcinfo), PG_GETARG_JSONB_P(1)));
}

/* eb_schema_violations(schema, document) -> as eb_validate */
Datum
eventbus_schema_violations(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	put_violations((ReturnSetInfo *) fcinfo->resultinfo,
				   eb_schema_eval_violations(compile_cached(fcinfo),
											 PG_GETARG_JSONB_P(1), MAX_VIOLATIONS));
	return (Datum) 0;
}

/* eb_schema_pattern(ecma) -> the regular expression that PostgreSQL is given */
Datum
eventbus_schema_pattern(PG_FUNCTION_ARGS)
{
	text	   *pattern = PG_GETARG_TEXT_PP(0);
	const char *problem;
	char	   *translated;

	translated = eb_schema_regex_translate(VARDATA_ANY(pattern),
										   VARSIZE_ANY_EXHDR(pattern), &problem);
	if (translated == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
				 errmsg("pattern cannot be used: %s", problem)));
	PG_RETURN_TEXT_P(cstring_to_text(translated));
}
