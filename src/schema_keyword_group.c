/*
 * schema_keyword_group.c
 *		Keywords that work together: those about an object's properties and
 *		those about an array's items.
 */
#include "postgres.h"

#include "schema_compile.h"

static bool
get_object(EbNodeBuilder *b, const char *keyword, EbJson *value)
{
	if (!eb_schema_compile_get(b, keyword, value))
		return false;
	if (value->type != EB_JSON_OBJECT)
		eb_schema_compile_refuse(b->path, keyword, "must be an object");
	return true;
}

/* The strings of an array, without repetition. */
static EbJson *
get_names(EbNodeBuilder *b, const char *keyword, const EbJson *array, int *n)
{
	EbJson	   *names;
	EbJsonWalk	w;
	EbJson		item;

	*n = 0;
	if (array->type != EB_JSON_ARRAY)
		eb_schema_compile_refuse(b->path, keyword, "must be an array of strings");
	names = palloc(sizeof(EbJson) * Max(EbJsonCount(array), 1));
	eb_json_walk_init(&w, array);
	while (eb_json_walk_element(&w, &item))
	{
		if (item.type != EB_JSON_STRING)
			eb_schema_compile_refuse(b->path, keyword, "must be an array of strings");
		names[(*n)++] = item;
	}
	return names;
}

static int
cmp_properties(const void *a, const void *b)
{
	const EbProperty *pa = a;
	const EbProperty *pb = b;

	return eb_json_key_cmp(pa->name, pa->len, pb->name, pb->len);
}

/* properties and required, merged by name in Jsonb's order */
static void
compile_property_names(EbNodeBuilder *b, EbPropertyTable *table)
{
	EbJson		properties;
	EbJson		required;
	EbJson	   *names = NULL;
	int			nnames = 0;
	int			npairs = 0;
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;
	int			n = 0;

	if (get_object(b, "properties", &properties))
		npairs = EbJsonCount(&properties);
	if (eb_schema_compile_get(b, "required", &required))
		names = get_names(b, "required", &required, &nnames);
	table->properties = palloc0(sizeof(EbProperty) * Max(npairs + nnames, 1));
	if (npairs > 0)
	{
		eb_json_walk_init(&w, &properties);
		while (eb_json_walk_pair(&w, &key, &value))
		{
			EbProperty *p = &table->properties[table->n++];

			p->name = key.data;
			p->len = key.len;
			p->node = eb_schema_compile_child(b, &value, "properties", key.data, key.len);
		}
	}
	for (int i = 0; i < nnames; i++)
	{
		EbProperty *p = &table->properties[table->n++];

		p->name = names[i].data;
		p->len = names[i].len;
		p->node = EB_NODE_NONE;
		p->required = true;
	}
	qsort(table->properties, table->n, sizeof(EbProperty), cmp_properties);
	for (int i = 0; i < table->n; i++)
	{
		if (n > 0 && cmp_properties(&table->properties[n - 1], &table->properties[i]) == 0)
		{
			EbProperty *p = &table->properties[n - 1];

			p->required |= table->properties[i].required;
			p->node = Max(p->node, table->properties[i].node);
		}
		else
			table->properties[n++] = table->properties[i];
	}
	table->n = n;
	for (int i = 0; i < n; i++)
		table->nrequired += table->properties[i].required;
}

static void
compile_pattern_properties(EbNodeBuilder *b, EbPropertyTable *table)
{
	EbJson		patterns;
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;

	if (!get_object(b, "patternProperties", &patterns))
		return;
	table->patterns = palloc(sizeof(EbPatternProperty) * Max(EbJsonCount(&patterns), 1));
	eb_json_walk_init(&w, &patterns);
	while (eb_json_walk_pair(&w, &key, &value))
	{
		EbPatternProperty *p = &table->patterns[table->npatterns++];
		const char *problem;

		p->regex = eb_schema_regex_compile(key.data, key.len, &problem);
		if (p->regex == NULL)
			eb_schema_compile_refuse(b->path, "patternProperties",
									 "has the pattern \"%.*s\", which cannot be used: %s",
									 key.len, key.data, problem);
		p->node = eb_schema_compile_child(b, &value, "patternProperties",
										  key.data, key.len);
	}
}

static void
compile_dependency(EbNodeBuilder *b, const char *keyword, const EbJson *key,
				   const EbJson *value)
{
	EbDependency *d = palloc0(sizeof(EbDependency));
	bool		names = strcmp(keyword, "dependentRequired") == 0 ||
		(strcmp(keyword, "dependencies") == 0 && value->type == EB_JSON_ARRAY);

	d->name = key->data;
	d->len = key->len;
	d->keyword = keyword;
	d->node = EB_NODE_NONE;
	if (names)
		d->names = get_names(b, keyword, value, &d->n);
	else
		d->node = eb_schema_compile_child(b, value, keyword, key->data, key->len);
	eb_schema_compile_op(b, EB_SECTION_OBJECT,
						 names ? EB_OP_DEPENDENT_REQUIRED : EB_OP_DEPENDENT_SCHEMA)->u.dependency = d;
}

static void
compile_dependencies(EbNodeBuilder *b)
{
	static const char *const keywords[] = {
		"dependentRequired", "dependentSchemas", "dependencies"
	};

	for (int i = 0; i < lengthof(keywords); i++)
	{
		EbJson		map;
		EbJsonWalk	w;
		EbJson		key;
		EbJson		value;

		if (b->draft == EB_DRAFT_07 && strcmp(keywords[i], "dependencies") != 0)
			continue;
		if (!get_object(b, keywords[i], &map))
			continue;
		eb_json_walk_init(&w, &map);
		while (eb_json_walk_pair(&w, &key, &value))
			compile_dependency(b, keywords[i], &key, &value);
	}
}

void
eb_schema_keyword_object(EbNodeBuilder *b)
{
	EbPropertyTable *table = palloc0(sizeof(EbPropertyTable));
	EbJson		value;

	compile_property_names(b, table);
	compile_pattern_properties(b, table);
	table->additional = table->names = EB_NODE_NONE;
	if (eb_schema_compile_get(b, "additionalProperties", &value))
		table->additional = eb_schema_compile_child(b, &value, "additionalProperties", NULL, 0);
	if (eb_schema_compile_get(b, "propertyNames", &value))
		table->names = eb_schema_compile_child(b, &value, "propertyNames", NULL, 0);
	if (table->n > 0 || table->npatterns > 0 ||
		table->additional != EB_NODE_NONE || table->names != EB_NODE_NONE)
		eb_schema_compile_op(b, EB_SECTION_OBJECT, EB_OP_PROPERTIES)->u.properties = table;
	compile_dependencies(b);
}

static void
compile_prefix(EbNodeBuilder *b, EbItems *items, const char *keyword,
			   const EbJson *list)
{
	EbJsonWalk	w;
	EbJson		item;

	if (list->type != EB_JSON_ARRAY)
		eb_schema_compile_refuse(b->path, keyword, "must be an array of schemas");
	items->prefix = palloc(sizeof(int) * Max(EbJsonCount(list), 1));
	eb_json_walk_init(&w, list);
	while (eb_json_walk_element(&w, &item))
	{
		char		number[16];
		int			len = snprintf(number, sizeof(number), "%d", w.i - 1);

		items->prefix[items->nprefix++] = eb_schema_compile_child(b, &item, keyword, number, len);
	}
}

static void
compile_rest(EbNodeBuilder *b, EbItems *items, const char *keyword)
{
	EbJson		value;

	if (!eb_schema_compile_get(b, keyword, &value))
		return;
	items->rest = eb_schema_compile_child(b, &value, keyword, NULL, 0);
	items->rest_keyword = keyword;
}

static void
compile_items(EbNodeBuilder *b)
{
	EbItems    *items = palloc0(sizeof(EbItems));
	EbJson		value;

	items->rest = EB_NODE_NONE;
	if (b->draft == EB_DRAFT_2020_12)
	{
		if (eb_schema_compile_get(b, "prefixItems", &value))
			compile_prefix(b, items, "prefixItems", &value);
		if (eb_schema_compile_get(b, "items", &value) && value.type == EB_JSON_ARRAY)
			eb_schema_compile_refuse(b->path, "items", "must be a schema in draft 2020-12; a list of schemas is \"prefixItems\" there, or declare draft-07 with \"$schema\"");
		compile_rest(b, items, "items");
	}
	else if (eb_schema_compile_get(b, "items", &value) && value.type == EB_JSON_ARRAY)
	{
		compile_prefix(b, items, "items", &value);
		compile_rest(b, items, "additionalItems");
	}
	else
		compile_rest(b, items, "items");
	if (items->nprefix > 0 || items->rest != EB_NODE_NONE)
		eb_schema_compile_op(b, EB_SECTION_ARRAY, EB_OP_ITEMS)->u.items = items;
}

static void
compile_contains(EbNodeBuilder *b)
{
	EbContains *c = palloc0(sizeof(EbContains));
	EbJson		value;

	c->min = 1;
	c->max = -1;
	c->marks = b->draft == EB_DRAFT_2020_12;
	if (b->draft == EB_DRAFT_2020_12)
	{
		if (eb_schema_compile_get(b, "minContains", &value))
			c->min = eb_schema_keyword_count(b, "minContains", &value);
		if (eb_schema_compile_get(b, "maxContains", &value))
			c->max = eb_schema_keyword_count(b, "maxContains", &value);
	}
	if (!eb_schema_compile_get(b, "contains", &value))
		return;
	c->node = eb_schema_compile_child(b, &value, "contains", NULL, 0);
	eb_schema_compile_op(b, EB_SECTION_ARRAY, EB_OP_CONTAINS)->u.contains = c;
}

void
eb_schema_keyword_array(EbNodeBuilder *b)
{
	compile_items(b);
	compile_contains(b);
}
