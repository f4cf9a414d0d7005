/*
 * typescript.c
 *		eb_typescript: the registered contracts as TypeScript types.
 *
 * One type for each payload, one discriminated union of all events.  A type
 * accepts at least what its schema accepts: what TypeScript cannot say (patterns,
 * ranges, not, if) is left out.  Schemas that are referred to become types with
 * names of their own, so recursion is no problem.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "catalog.h"
#include "compat.h"
#include "schema_compile.h"

PG_FUNCTION_INFO_V1(eventbus_typescript);

/* A schema that is referred to, and thus has a name. */
typedef struct EbNamedSchema
{
	const char *data;			/* where it lies */
	EbJson		schema;
	int			resource;
	char	   *name;
} EbNamedSchema;

typedef struct EbTypeWriter
{
	EbCompiler *document;
	const char *prefix;			/* of the names of this contract's types */
	List	   *named;			/* of EbNamedSchema */
} EbTypeWriter;

static char *write_type(EbTypeWriter *w, const EbJson *schema, int resource);

static bool
get(const EbJson *schema, const char *keyword, EbJson *value)
{
	return eb_schema_json_get(schema, keyword, strlen(keyword), value, NULL);
}

static int
resource_of(EbTypeWriter *w, const EbJson *schema, int resource)
{
	EbLocation *location = schema->type == EB_JSON_OBJECT ?
		eb_schema_index_location(w->document, schema) : NULL;

	return location ? location->resource : resource;
}

/* order.placed to OrderPlaced */
static char *
pascal_case(const char *s)
{
	StringInfoData buf;
	bool		upper = true;

	initStringInfo(&buf);
	for (; *s; s++)
	{
		bool		lower = *s >= 'a' && *s <= 'z';

		if (!lower && !(*s >= 'A' && *s <= 'Z') && !(*s >= '0' && *s <= '9'))
			upper = true;
		else
		{
			appendStringInfoChar(&buf, upper && lower ? *s - 'a' + 'A' : *s);
			upper = false;
		}
	}
	return buf.data;
}

static char *
quoted(const char *s, int len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	escape_json(&buf, pnstrdup(s, len));
	return buf.data;
}

/* "a op b op c"; parentheses where a part is a union or intersection itself */
static char *
join(List *parts, const char *operator)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, parts)
	{
		char	   *part = lfirst(lc);
		bool		bare = list_length(parts) == 1 ||
			(strstr(part, " | ") == NULL && strstr(part, " & ") == NULL);

		appendStringInfo(&buf, bare ? "%s%s" : "%s(%s)", buf.len ? operator : "", part);
	}
	return buf.data;
}

static List *
add_part(List *parts, char *part)
{
	ListCell   *lc;

	foreach(lc, parts)
		if (strcmp(lfirst(lc), part) == 0)
			return parts;
	return lappend(parts, part);
}

/* A constant as a literal type */
static char *
write_literal(const EbJson *v)
{
	StringInfoData buf;
	EbJsonWalk	w;
	EbJson		key = {0};
	EbJson		value;

	if (v->type != EB_JSON_ARRAY && v->type != EB_JSON_OBJECT)
		return v->type == EB_JSON_STRING ? quoted(v->data, v->len) : eb_schema_json_text(v);
	check_stack_depth();
	initStringInfo(&buf);
	eb_json_walk_init(&w, v);
	appendStringInfoString(&buf, v->type == EB_JSON_ARRAY ? "[" : "{ ");
	if (v->type == EB_JSON_ARRAY)
		while (eb_json_walk_element(&w, &value))
			appendStringInfo(&buf, "%s%s", w.i > 1 ? ", " : "", write_literal(&value));
	else
		while (eb_json_walk_pair(&w, &key, &value))
			appendStringInfo(&buf, "%s: %s; ", quoted(key.data, key.len), write_literal(&value));
	appendStringInfoString(&buf, v->type == EB_JSON_ARRAY ? "]" : "}");
	return buf.data;
}

static char *
write_list(EbTypeWriter *w, const EbJson *list, int resource, const char *operator)
{
	List	   *parts = NIL;
	EbJsonWalk	walk;
	EbJson		item;

	eb_json_walk_init(&walk, list);
	while (eb_json_walk_element(&walk, &item))
		parts = add_part(parts, write_type(w, &item, resource_of(w, &item, resource)));
	return join(parts, operator);
}

static bool
is_required(const EbJson *schema, const EbJson *name)
{
	EbJson		required;
	EbJsonWalk	w;
	EbJson		item;

	if (!get(schema, "required", &required) || required.type != EB_JSON_ARRAY)
		return false;
	eb_json_walk_init(&w, &required);
	while (eb_json_walk_element(&w, &item))
		if (eb_schema_json_equal(&item, name))
			return true;
	return false;
}

/* required names that have no schema */
static void
write_bare_required(StringInfo buf, const EbJson *schema, const EbJson *properties)
{
	EbJson		required;
	EbJson		name = {0};
	EbJson		ignored;
	EbJsonWalk	w;

	if (!get(schema, "required", &required))
		return;
	eb_json_walk_init(&w, &required);
	while (eb_json_walk_element(&w, &name))
		if (properties == NULL ||
			!eb_schema_json_get(properties, name.data, name.len, &ignored, NULL))
			appendStringInfo(buf, "readonly %s: unknown; ", quoted(name.data, name.len));
}

static char *
write_object(EbTypeWriter *w, const EbJson *schema, int resource)
{
	StringInfoData buf;
	EbJson		properties;
	EbJson		value;
	EbJson		key = {0};
	EbJsonWalk	walk;
	bool		found = get(schema, "properties", &properties);

	initStringInfo(&buf);
	if (found)
	{
		eb_json_walk_init(&walk, &properties);
		while (eb_json_walk_pair(&walk, &key, &value))
			appendStringInfo(&buf, "readonly %s%s: %s; ", quoted(key.data, key.len),
							 is_required(schema, &key) ? "" : "?",
							 write_type(w, &value, resource_of(w, &value, resource)));
	}
	write_bare_required(&buf, schema, found ? &properties : NULL);
	if (buf.len > 0)
		return psprintf("{ %s}", buf.data);
	if (get(schema, "patternProperties", &value) ||
		!get(schema, "additionalProperties", &value))
		return "{ readonly [key: string]: unknown }";
	return psprintf("{ readonly [key: string]: %s }",
					write_type(w, &value, resource_of(w, &value, resource)));
}

static int64
minimum_items(const EbJson *schema)
{
	EbJson		value;
	int64		count = 0;

	if (get(schema, "minItems", &value))
		(void) eb_schema_number_int((Numeric) value.data, &count);
	return count;
}

/* A list, or a tuple where items differ by position */
static char *
write_array(EbTypeWriter *w, const EbJson *schema, int resource)
{
	StringInfoData buf;
	EbJson		prefix;
	EbJson		item;
	EbJsonWalk	walk;
	const char *rest_keyword = "items";
	char	   *rest = "unknown";
	bool		tuple = get(schema, "prefixItems", &prefix) && prefix.type == EB_JSON_ARRAY;
	int64		min = minimum_items(schema);

	if (!tuple && get(schema, "items", &prefix) && prefix.type == EB_JSON_ARRAY)
	{
		tuple = true;
		rest_keyword = "additionalItems";
	}
	if (get(schema, rest_keyword, &item) && item.type != EB_JSON_ARRAY)
		rest = write_type(w, &item, resource_of(w, &item, resource));
	if (!tuple)
		return psprintf(min == 1 ? "readonly [%s, ...Array<%s>]" : "ReadonlyArray<%s>", rest, rest);
	initStringInfo(&buf);
	eb_json_walk_init(&walk, &prefix);
	while (eb_json_walk_element(&walk, &item))
		appendStringInfo(&buf, walk.i <= min ? "%s%s" : "%s(%s)?", walk.i > 1 ? ", " : "",
						 write_type(w, &item, resource_of(w, &item, resource)));
	if (strcmp(rest, "never") != 0)
		appendStringInfo(&buf, "%s...Array<%s>", buf.len ? ", " : "", rest);
	return psprintf("readonly [%s]", buf.data);
}

static char *
write_one(EbTypeWriter *w, const EbJson *schema, int resource, const EbJson *type)
{
	if (eb_json_is_string(type, "object"))
		return write_object(w, schema, resource);
	if (eb_json_is_string(type, "array"))
		return write_array(w, schema, resource);
	if (eb_json_is_string(type, "integer"))
		return "number";
	return pnstrdup(type->data, type->len);
}

/* What type says, or what the keywords that are there imply; NULL: nothing */
static char *
write_base(EbTypeWriter *w, const EbJson *schema, int resource)
{
	EbJson		type;
	EbJson		value;
	EbJsonWalk	walk;
	List	   *parts = NIL;

	if (get(schema, "const", &value))
		return write_literal(&value);
	if (get(schema, "enum", &value))
	{
		EbJson		item;

		eb_json_walk_init(&walk, &value);
		while (eb_json_walk_element(&walk, &item))
			parts = add_part(parts, write_literal(&item));
		return parts ? join(parts, " | ") : "never";
	}
	if (!get(schema, "type", &type))
		return get(schema, "properties", &value) && get(schema, "required", &value) ?
			write_object(w, schema, resource) : NULL;
	if (type.type == EB_JSON_STRING)
		return write_one(w, schema, resource, &type);
	eb_json_walk_init(&walk, &type);
	while (eb_json_walk_element(&walk, &value))
		parts = add_part(parts, write_one(w, schema, resource, &value));
	return join(parts, " | ");
}

/* The name of what a reference leads to */
static char *
write_reference(EbTypeWriter *w, const EbJson *ref, int resource)
{
	EbNodeBuilder b = {.compiler = w->document,.resource = resource,.path = ""};
	EbNamedSchema *named;
	ListCell   *lc;
	EbJson		target;
	const char *slash;
	char	   *last;

	eb_schema_ref_resolve(&b, "$ref", ref, &target, &resource);
	if (target.type != EB_JSON_OBJECT)
		return target.boolean ? "unknown" : "never";
	foreach(lc, w->named)
	{
		named = lfirst(lc);
		if (named->data == target.data)
			return named->name;
	}
	last = pnstrdup(ref->data, ref->len);
	slash = strrchr(last, '/') ? strrchr(last, '/') + 1 : strrchr(last, '#') ? strrchr(last, '#') + 1 : last;
	named = palloc(sizeof(EbNamedSchema));
	named->data = target.data;
	named->schema = target;
	named->resource = resource;
	named->name = psprintf("%s_%s", w->prefix, pascal_case(slash));
	foreach(lc, w->named)
		if (strcmp(((EbNamedSchema *) lfirst(lc))->name, named->name) == 0)
			named->name = psprintf("%s_%s%d", w->prefix, pascal_case(slash), list_length(w->named));
	w->named = lappend(w->named, named);
	return named->name;
}

static char *
write_type(EbTypeWriter *w, const EbJson *schema, int resource)
{
	List	   *parts = NIL;
	EbJson		value;
	char	   *base;

	check_stack_depth();
	if (schema->type == EB_JSON_BOOLEAN)
		return schema->boolean ? "unknown" : "never";
	if (get(schema, "$ref", &value) || get(schema, "$dynamicRef", &value))
		parts = add_part(parts, write_reference(w, &value, resource));
	if ((base = write_base(w, schema, resource)) != NULL)
		parts = add_part(parts, base);
	if (get(schema, "allOf", &value))
		parts = add_part(parts, write_list(w, &value, resource, " & "));
	if (get(schema, "anyOf", &value))
		parts = add_part(parts, write_list(w, &value, resource, " | "));
	if (get(schema, "oneOf", &value))
		parts = add_part(parts, write_list(w, &value, resource, " | "));
	return parts ? join(parts, " & ") : "unknown";
}

/* An identifier for an event type that no other one has got. */
static char *
type_name(List **used, const char *type)
{
	char	   *name = pascal_case(type);
	ListCell   *lc;

	if (*name >= '0' && *name <= '9')
		name = psprintf("_%s", name);
	foreach(lc, *used)
		if (strcmp(lfirst(lc), name) == 0)
			name = psprintf("%s_%d", name, list_length(*used));
	*used = lappend(*used, name);
	return name;
}

/* The types of one contract */
static void
write_contract(StringInfo out, const char *name, const char *type, int version,
			   Jsonb *document)
{
	EbTypeWriter w = {0};
	EbJson		root;

	w.document = eb_schema_compile_open(document, &root);
	w.prefix = name;
	appendStringInfo(out, "\n/** %s, version %d */\nexport type %s = %s\n", type, version,
					 w.prefix, write_type(&w, &root, 0));
	/* the list grows while it is written */
	for (int i = 0; i < list_length(w.named); i++)
	{
		EbNamedSchema *named = list_nth(w.named, i);

		appendStringInfo(out, "export type %s = %s\n", named->name,
						 write_type(&w, &named->schema, named->resource));
	}
}

static const char header[] =
"// Generated by eb_typescript(); do not edit.\n"
"\n"
"/** An event as row_to_json shows a row of eb_event. */\n"
"export interface EventOf<Type extends string, Payload> {\n"
"  readonly offset: number | null\n"
"  readonly event_id: string\n"
"  readonly type: Type\n"
"  readonly aggregate_id: string | null\n"
"  readonly payload: Payload\n"
"  readonly correlation_id: string | null\n"
"  readonly causation_id: string | null\n"
"  readonly headers: { readonly [name: string]: string } | null\n"
"  readonly priority: number\n"
"  readonly deliver_at: string | null\n"
"  readonly emitted_at: string | null\n"
"}\n";

static void
write_registry(StringInfo out, StringInfo members)
{
	List	   *used = NIL;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		char	   *type = TextDatumGetCString(SPI_getbinval(tuple, desc, 1, &isnull));
		int			version = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
		Jsonb	   *schema = DatumGetJsonbP(SPI_getbinval(tuple, desc, 3, &isnull));
		char	   *name = type_name(&used, type);

		CHECK_FOR_INTERRUPTS();
		write_contract(out, name, type, version, schema);
		appendStringInfo(members, "\n  | EventOf<%s, %s>", quoted(type, strlen(type)), name);
	}
}

Datum
eventbus_typescript(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	EbOwnerScope scope;
	StringInfoData out;
	StringInfoData members;
	text	   *result;

	eb_owner_begin(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	initStringInfo(&out);
	initStringInfo(&members);
	appendStringInfoString(&out, header);
	/* a pattern names no single type: it cannot be a member of the union */
	if (SPI_execute("SELECT DISTINCT ON (type) type, version, schema FROM eventbus.type_version"
					" WHERE type !~ '[*>]' ORDER BY type, version DESC", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventbus.type_version");
	write_registry(&out, &members);
	appendStringInfo(&out, "\n/** Every registered event, told apart by its type. */\nexport type DomainEvent =%s\n",
					 members.len ? members.data : " never");
	result = MemoryContextAlloc(caller, out.len + VARHDRSZ);
	SET_VARSIZE(result, out.len + VARHDRSZ);
	memcpy(VARDATA(result), out.data, out.len);
	SPI_finish();
	eb_owner_end(&scope);
	PG_RETURN_TEXT_P(result);
}
