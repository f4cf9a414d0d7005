/*
 * schema_keyword.c
 *		The keywords of drafts 07 and 2020-12, and how those about one value
 *		(types, numbers, strings, constants, combinations) compile.
 *
 * Keywords that work together (properties with additionalProperties, items
 * with prefixItems, ...) are groups, in schema_keyword_group.c.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "schema_compile.h"

/* a multipleOf with more base-10000 digits could cost too much per payload */
#define MAX_DIVISOR_DIGITS	100

static void compile_type(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_enum(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_const(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_limit(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_count(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_pattern(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_format(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_unique(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_list(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_not(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_if(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void compile_unevaluated(EbNodeBuilder *b, const char *keyword, const EbJson *value);
static void check_map(EbNodeBuilder *b, const char *keyword, const EbJson *value);

/* in byte order of their names */
static const EbKeyword keywords[] = {
	{"$anchor", EB_DRAFT_2020_12, EB_HOLDS_NOTHING, NULL},
	{"$defs", EB_DRAFT_ANY, EB_HOLDS_MAP, check_map},
	{"$dynamicAnchor", EB_DRAFT_2020_12, EB_HOLDS_NOTHING, NULL},
	{"$dynamicRef", EB_DRAFT_2020_12, EB_HOLDS_NOTHING, eb_schema_ref_compile_dynamic},
	{"$recursiveAnchor", 0, EB_HOLDS_NOTHING, NULL},
	{"$recursiveRef", 0, EB_HOLDS_NOTHING, NULL},
	{"$ref", EB_DRAFT_ANY, EB_HOLDS_NOTHING, eb_schema_ref_compile},
	{"additionalItems", EB_DRAFT_07, EB_HOLDS_SCHEMA, NULL},
	{"additionalProperties", EB_DRAFT_ANY, EB_HOLDS_SCHEMA, NULL},
	{"allOf", EB_DRAFT_ANY, EB_HOLDS_LIST, compile_list},
	{"anyOf", EB_DRAFT_ANY, EB_HOLDS_LIST, compile_list},
	{"const", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_const},
	{"contains", EB_DRAFT_ANY, EB_HOLDS_SCHEMA, NULL},
	{"contentSchema", EB_DRAFT_2020_12, EB_HOLDS_SCHEMA, NULL},
	{"definitions", EB_DRAFT_ANY, EB_HOLDS_MAP, check_map},
	{"dependencies", EB_DRAFT_ANY, EB_HOLDS_MAP, NULL},
	{"dependentRequired", EB_DRAFT_2020_12, EB_HOLDS_NOTHING, NULL},
	{"dependentSchemas", EB_DRAFT_2020_12, EB_HOLDS_MAP, NULL},
	{"else", EB_DRAFT_ANY, EB_HOLDS_SCHEMA, NULL},
	{"enum", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_enum},
	{"exclusiveMaximum", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_limit},
	{"exclusiveMinimum", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_limit},
	{"format", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_format},
	{"if", EB_DRAFT_ANY, EB_HOLDS_SCHEMA, compile_if},
	{"items", EB_DRAFT_ANY, EB_HOLDS_SCHEMA_OR_LIST, NULL},
	{"maxContains", EB_DRAFT_2020_12, EB_HOLDS_NOTHING, NULL},
	{"maxItems", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_count},
	{"maxLength", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_count},
	{"maxProperties", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_count},
	{"maximum", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_limit},
	{"minContains", EB_DRAFT_2020_12, EB_HOLDS_NOTHING, NULL},
	{"minItems", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_count},
	{"minLength", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_count},
	{"minProperties", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_count},
	{"minimum", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_limit},
	{"multipleOf", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_limit},
	{"not", EB_DRAFT_ANY, EB_HOLDS_SCHEMA, compile_not},
	{"oneOf", EB_DRAFT_ANY, EB_HOLDS_LIST, compile_list},
	{"pattern", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_pattern},
	{"patternProperties", EB_DRAFT_ANY, EB_HOLDS_MAP, NULL},
	{"prefixItems", EB_DRAFT_2020_12, EB_HOLDS_LIST, NULL},
	{"properties", EB_DRAFT_ANY, EB_HOLDS_MAP, NULL},
	{"propertyNames", EB_DRAFT_ANY, EB_HOLDS_SCHEMA, NULL},
	{"required", EB_DRAFT_ANY, EB_HOLDS_NOTHING, NULL},
	{"then", EB_DRAFT_ANY, EB_HOLDS_SCHEMA, NULL},
	{"type", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_type},
	{"unevaluatedItems", EB_DRAFT_2020_12, EB_HOLDS_SCHEMA, compile_unevaluated},
	{"unevaluatedProperties", EB_DRAFT_2020_12, EB_HOLDS_SCHEMA, compile_unevaluated},
	{"uniqueItems", EB_DRAFT_ANY, EB_HOLDS_NOTHING, compile_unique},
};

/* NULL: not a keyword, thus an annotation */
const EbKeyword *
eb_schema_keyword_lookup(const char *name, int len)
{
	int			low = 0;
	int			high = lengthof(keywords);

	while (low < high)
	{
		int			mid = (low + high) / 2;
		int			cmp = strncmp(keywords[mid].name, name, len);

		if (cmp == 0 && keywords[mid].name[len] == '\0')
			return &keywords[mid];
		if (cmp < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static uint8
type_bit(EbNodeBuilder *b, const EbJson *name)
{
	if (name->type == EB_JSON_STRING)
		for (int bit = EB_JSON_NULL; bit <= EB_JSON_INTEGER; bit <<= 1)
			if (eb_json_is_string(name, eb_schema_json_type_name(bit)))
				return bit;
	eb_schema_compile_refuse(b->path, "type", "must name JSON types");
	return 0;
}

static void
compile_type(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	EbNode	   *node = &b->compiler->schema->nodes[b->node];
	uint8		types = 0;
	EbJsonWalk	w;
	EbJson		name;

	if (value->type == EB_JSON_ARRAY)
	{
		eb_json_walk_init(&w, value);
		while (eb_json_walk_element(&w, &name))
			types |= type_bit(b, &name);
		if (types == 0)
			eb_schema_compile_refuse(b->path, keyword, "must not be empty");
	}
	else
		types = type_bit(b, value);
	node->integer = (types & EB_JSON_INTEGER) && !(types & EB_JSON_NUMBER);
	if (types & EB_JSON_INTEGER)
		types |= EB_JSON_NUMBER;
	node->types = types & EB_JSON_ANY;
}

static EbJson *
copy_json(const EbJson *v)
{
	EbJson	   *copy = palloc(sizeof(EbJson));

	*copy = *v;
	return copy;
}

static void
compile_const(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	eb_schema_compile_op(b, EB_SECTION_ANY, EB_OP_CONST)->u.value = copy_json(value);
}

static int
cmp_strings(const void *a, const void *b)
{
	const EbJson *sa = a;
	const EbJson *sb = b;

	return eb_json_key_cmp(sa->data, sa->len, sb->data, sb->len);
}

static void
compile_enum(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	EbEnum	   *list = palloc0(sizeof(EbEnum));
	EbJsonWalk	w;

	if (value->type != EB_JSON_ARRAY)
		eb_schema_compile_refuse(b->path, keyword, "must be an array");
	list->values = palloc(sizeof(EbJson) * Max(EbJsonCount(value), 1));
	list->strings = true;
	eb_json_walk_init(&w, value);
	while (eb_json_walk_element(&w, &list->values[list->n]))
	{
		if (list->values[list->n].type != EB_JSON_STRING)
			list->strings = false;
		list->n++;
	}
	if (list->strings)
		qsort(list->values, list->n, sizeof(EbJson), cmp_strings);
	eb_schema_compile_op(b, EB_SECTION_ANY, EB_OP_ENUM)->u.values = list;
}

static void
compile_limit(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	static const struct
	{
		const char *keyword;
		EbOpCode	code;
	}			codes[] = {
		{"minimum", EB_OP_MINIMUM},
		{"maximum", EB_OP_MAXIMUM},
		{"exclusiveMinimum", EB_OP_EXCLUSIVE_MINIMUM},
		{"exclusiveMaximum", EB_OP_EXCLUSIVE_MAXIMUM},
		{"multipleOf", EB_OP_MULTIPLE_OF},
	};
	EbNumber   *limit = palloc(sizeof(EbNumber));
	EbOpCode	code = EB_OP_MINIMUM;

	if (value->type != EB_JSON_NUMBER)
		eb_schema_compile_refuse(b->path, keyword, "must be a number");
	for (int i = 0; i < lengthof(codes); i++)
		if (strcmp(codes[i].keyword, keyword) == 0)
			code = codes[i].code;
	eb_schema_number_read((Numeric) value->data, limit);
	if (code == EB_OP_MULTIPLE_OF)
	{
		if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(limit->numeric),
											  DirectFunctionCall1(int4_numeric, Int32GetDatum(0)))) <= 0)
			eb_schema_compile_refuse(b->path, keyword, "must be greater than 0");
		if (eb_schema_number_digits(limit->numeric) > MAX_DIVISOR_DIGITS)
			eb_schema_compile_refuse(b->path, keyword, "must not have more than 400 digits");
	}
	eb_schema_compile_op(b, EB_SECTION_NUMBER, code)->u.limit = limit;
}

/* A keyword's value as a non-negative integer; beyond int64 it is as good as endless. */
int64
eb_schema_keyword_count(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	int64		count;

	if (value->type != EB_JSON_NUMBER ||
		!eb_schema_number_is_integer((Numeric) value->data))
		eb_schema_compile_refuse(b->path, keyword, "must be an integer");
	if (!eb_schema_number_int((Numeric) value->data, &count))
		count = DatumGetBool(DirectFunctionCall2(numeric_lt, PointerGetDatum(value->data),
												 DirectFunctionCall1(int4_numeric, Int32GetDatum(0)))) ? -1 : PG_INT64_MAX;
	if (count < 0)
		eb_schema_compile_refuse(b->path, keyword, "must not be negative");
	return count;
}

static void
compile_count(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	static const struct
	{
		const char *keyword;
		EbSection	section;
		EbOpCode	code;
	}			codes[] = {
		{"minLength", EB_SECTION_STRING, EB_OP_MIN_LENGTH},
		{"maxLength", EB_SECTION_STRING, EB_OP_MAX_LENGTH},
		{"minItems", EB_SECTION_ARRAY, EB_OP_MIN_ITEMS},
		{"maxItems", EB_SECTION_ARRAY, EB_OP_MAX_ITEMS},
		{"minProperties", EB_SECTION_OBJECT, EB_OP_MIN_PROPERTIES},
		{"maxProperties", EB_SECTION_OBJECT, EB_OP_MAX_PROPERTIES},
	};
	int64		count = eb_schema_keyword_count(b, keyword, value);

	for (int i = 0; i < lengthof(codes); i++)
		if (strcmp(codes[i].keyword, keyword) == 0)
			eb_schema_compile_op(b, codes[i].section, codes[i].code)->number = count;
}

static void
compile_pattern(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	const char *problem;
	EbRegex    *regex;

	if (value->type != EB_JSON_STRING)
		eb_schema_compile_refuse(b->path, keyword, "must be a string");
	regex = eb_schema_regex_compile(value->data, value->len, &problem);
	if (regex == NULL)
		eb_schema_compile_refuse(b->path, keyword, "cannot be used: %s", problem);
	eb_schema_compile_op(b, EB_SECTION_STRING, EB_OP_PATTERN)->u.regex = regex;
}

static void
compile_format(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	EbFormat	format;
	EbOp	   *op;

	if (value->type != EB_JSON_STRING)
		eb_schema_compile_refuse(b->path, keyword, "must be a string");
	format = eb_schema_format_lookup(value->data, value->len);
	if (format == EB_FORMAT_NONE)
		return;
	op = eb_schema_compile_op(b, EB_SECTION_STRING, EB_OP_FORMAT);
	op->number = format;
	op->u.text = eb_schema_format_name(format);
}

static void
compile_unique(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	if (value->type != EB_JSON_BOOLEAN)
		eb_schema_compile_refuse(b->path, keyword, "must be a boolean");
	if (value->boolean)
		eb_schema_compile_op(b, EB_SECTION_ARRAY, EB_OP_UNIQUE_ITEMS);
}

static void
compile_list(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	EbNodeList *list = palloc0(sizeof(EbNodeList));
	EbOpCode	code = strcmp(keyword, "allOf") == 0 ? EB_OP_ALL_OF :
		strcmp(keyword, "anyOf") == 0 ? EB_OP_ANY_OF : EB_OP_ONE_OF;
	EbJsonWalk	w;
	EbJson		item;

	if (value->type != EB_JSON_ARRAY || EbJsonCount(value) == 0)
		eb_schema_compile_refuse(b->path, keyword, "must be an array of schemas, not empty");
	list->nodes = palloc(sizeof(int) * EbJsonCount(value));
	eb_json_walk_init(&w, value);
	while (eb_json_walk_element(&w, &item))
	{
		char		number[16];
		int			len = snprintf(number, sizeof(number), "%d", w.i - 1);

		list->nodes[list->n++] = eb_schema_compile_child(b, &item, keyword, number, len);
	}
	eb_schema_compile_op(b, EB_SECTION_ANY, code)->u.list = list;
}

static void
compile_not(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	int			node = eb_schema_compile_child(b, value, keyword, NULL, 0);

	eb_schema_compile_op(b, EB_SECTION_ANY, EB_OP_NOT)->node = node;
}

/* if, with then and else beside it */
static void
compile_if(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	EbCondition *c = palloc(sizeof(EbCondition));
	EbJson		branch;

	c->condition = eb_schema_compile_child(b, value, keyword, NULL, 0);
	c->then_node = c->else_node = EB_NODE_NONE;
	if (eb_schema_compile_get(b, "then", &branch))
		c->then_node = eb_schema_compile_child(b, &branch, "then", NULL, 0);
	if (eb_schema_compile_get(b, "else", &branch))
		c->else_node = eb_schema_compile_child(b, &branch, "else", NULL, 0);
	eb_schema_compile_op(b, EB_SECTION_ANY, EB_OP_IF)->u.condition = c;
}

static void
compile_unevaluated(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	int			node = eb_schema_compile_child(b, value, keyword, NULL, 0);

	eb_schema_compile_op(b, EB_SECTION_LAST,
						 strcmp(keyword, "unevaluatedItems") == 0 ?
						 EB_OP_UNEVALUATED_ITEMS : EB_OP_UNEVALUATED_PROPERTIES)->node = node;
}

static void
check_map(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	if (value->type != EB_JSON_OBJECT)
		eb_schema_compile_refuse(b->path, keyword, "must be an object");
}
