/*
 * schema_compat_rules.c
 *		Compatibility of the keywords about values, objects and arrays: is what
 *		"from" accepts accepted by "to"?
 */
#include "postgres.h"

#include "schema_compat_rules.h"

static uint8
types_of(const EbSide *side, bool *given)
{
	EbJson		value;
	EbJson		name;
	EbJsonWalk	w;
	uint8		types = 0;

	*given = eb_schema_compat_get(side, "type", &value);
	if (!*given)
		return EB_JSON_ANY | EB_JSON_INTEGER;
	for (int bit = EB_JSON_NULL; bit <= EB_JSON_INTEGER; bit <<= 1)
	{
		if (value.type == EB_JSON_STRING)
		{
			if (eb_json_is_string(&value, eb_schema_json_type_name(bit)))
				types |= bit;
			continue;
		}
		eb_json_walk_init(&w, &value);
		while (eb_json_walk_element(&w, &name))
			if (eb_json_is_string(&name, eb_schema_json_type_name(bit)))
				types |= bit;
	}
	if (types & EB_JSON_NUMBER)
		types |= EB_JSON_INTEGER;
	return types;
}

/* The values that enum or const list; false if neither is there. */
static bool
listed_values(const EbSide *side, EbJson *list, bool *single)
{
	*single = eb_schema_compat_get(side, "const", list);
	return *single || eb_schema_compat_get(side, "enum", list);
}

static bool
list_has(const EbJson *list, bool single, const EbJson *value)
{
	EbJsonWalk	w;
	EbJson		item;

	if (single)
		return eb_schema_json_equal(list, value);
	eb_json_walk_init(&w, list);
	while (eb_json_walk_element(&w, &item))
		if (eb_schema_json_equal(&item, value))
			return true;
	return false;
}

static bool
list_covered(const EbJson *list, bool single, const EbJson *by, bool by_single)
{
	EbJsonWalk	w;
	EbJson		item;

	if (single)
		return list_has(by, by_single, list);
	eb_json_walk_init(&w, list);
	while (eb_json_walk_element(&w, &item))
		if (!list_has(by, by_single, &item))
			return false;
	return true;
}

/* The type bits that the listed values have. */
static uint8
types_of_values(const EbJson *list, bool single)
{
	EbJsonWalk	w;
	EbJson		item;
	uint8		types = 0;

	if (single)
		return list->type == EB_JSON_NUMBER &&
			eb_schema_number_is_integer((Numeric) list->data) ? EB_JSON_INTEGER : list->type;
	eb_json_walk_init(&w, list);
	while (eb_json_walk_element(&w, &item))
		types |= item.type == EB_JSON_NUMBER &&
			eb_schema_number_is_integer((Numeric) item.data) ? EB_JSON_INTEGER : item.type;
	return types;
}

static bool
compare_types(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	bool		from_given;
	bool		to_given;
	bool		from_single;
	bool		to_single;
	uint8		from_types = types_of(from, &from_given);
	uint8		to_types = types_of(to, &to_given);
	EbJson		from_list;
	EbJson		to_list;
	bool		listed = listed_values(from, &from_list, &from_single);

	if (listed)
		from_types &= types_of_values(&from_list, from_single);
	if (to_given && (from_types & ~to_types) != 0)
		return eb_schema_compat_fail(c, false, path, "type", "is narrower");
	if (!listed_values(to, &to_list, &to_single))
		return true;
	if (!listed || !list_covered(&from_list, from_single, &to_list, to_single))
		return eb_schema_compat_fail(c, false, path, to_single ? "const" : "enum",
									 "leaves out values that were accepted");
	return true;
}

/* -1, 0, 1 */
static int
compare_numbers(const EbJson *a, const EbJson *b)
{
	EbNumber	na;
	EbNumber	nb;

	eb_schema_number_read((Numeric) a->data, &na);
	eb_schema_number_read((Numeric) b->data, &nb);
	return eb_schema_number_cmp(&na, &nb);
}

/*
 * A bound of "to" must be implied by one of "from": keyword, or alternative,
 * a bound of the other strictness (equal is enough only if that is allowed).
 */
static bool
compare_bound(EbCompat *c, const EbSide *from, const EbSide *to, const char *path,
			  const char *keyword, const char *alternative, int sign, bool exclusive)
{
	EbJson		theirs;
	EbJson		ours;

	if (!eb_schema_compat_get(to, keyword, &theirs))
		return true;
	if (eb_schema_compat_get(from, keyword, &ours) &&
		compare_numbers(&ours, &theirs) * sign >= 0)
		return true;
	if (alternative && eb_schema_compat_get(from, alternative, &ours))
	{
		int			cmp = compare_numbers(&ours, &theirs) * sign;

		if (exclusive ? cmp > 0 : cmp >= 0)
			return true;
	}
	return eb_schema_compat_fail(c, false, path, keyword, "is stricter");
}

static bool
compare_bounds(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	static const struct
	{
		const char *keyword;
		const char *alternative;
		int			sign;		/* 1: a higher bound accepts less */
		bool		exclusive;
	}			bounds[] = {
		{"minimum", "exclusiveMinimum", 1, false},
		{"exclusiveMinimum", "minimum", 1, true},
		{"maximum", "exclusiveMaximum", -1, false},
		{"exclusiveMaximum", "maximum", -1, true},
		{"minLength", NULL, 1, false},
		{"maxLength", NULL, -1, false},
		{"minItems", NULL, 1, false},
		{"maxItems", NULL, -1, false},
		{"minProperties", NULL, 1, false},
		{"maxProperties", NULL, -1, false},
	};

	for (int i = 0; i < lengthof(bounds); i++)
	{
		EbJson		value;

		/* a lower bound of zero on a count bounds nothing */
		if (bounds[i].alternative == NULL && bounds[i].sign > 0 &&
			eb_schema_compat_get(to, bounds[i].keyword, &value))
		{
			int64		count;

			if (eb_schema_number_int((Numeric) value.data, &count) && count == 0)
				continue;
		}
		if (!compare_bound(c, from, to, path, bounds[i].keyword, bounds[i].alternative,
						   bounds[i].sign, bounds[i].exclusive))
			return false;
	}
	return true;
}

/* type, enum, const, numbers and strings */
bool
eb_schema_compat_values(EbCompat *c, const EbSide *from, const EbSide *to,
						const char *path)
{
	EbJson		theirs;
	EbJson		ours;

	if (!compare_types(c, from, to, path) || !compare_bounds(c, from, to, path))
		return false;
	if (eb_schema_compat_get(to, "multipleOf", &theirs))
	{
		EbNumber	a;
		EbNumber	b;

		if (!eb_schema_compat_get(from, "multipleOf", &ours))
			return eb_schema_compat_fail(c, false, path, "multipleOf", "is new");
		eb_schema_number_read((Numeric) ours.data, &a);
		eb_schema_number_read((Numeric) theirs.data, &b);
		if (!eb_schema_number_multiple_of(&a, &b))
			return eb_schema_compat_fail(c, false, path, "multipleOf", "is stricter");
	}
	if (!eb_schema_compat_same(from, to, "pattern"))
		return eb_schema_compat_fail(c, true, path, "pattern", "changed");
	if (!eb_schema_compat_same(from, to, "format"))
		return eb_schema_compat_fail(c, true, path, "format", "changed");
	if (eb_schema_compat_get(to, "uniqueItems", &theirs) && theirs.boolean &&
		!(eb_schema_compat_get(from, "uniqueItems", &ours) && ours.boolean))
		return eb_schema_compat_fail(c, false, path, "uniqueItems", "is stricter");
	return true;
}

static const EbJson json_true = {.type = EB_JSON_BOOLEAN,.boolean = true};

/* The schema of properties that nothing else claims; *keyword says which one */
static EbSide
additional_of(const EbSide *side, const char **keyword)
{
	static const char *const keywords[] = {"additionalProperties", "unevaluatedProperties"};
	EbJson		value;

	for (int i = 0; i < lengthof(keywords); i++)
	{
		*keyword = keywords[i];
		if (eb_schema_compat_get(side, keywords[i], &value))
			return eb_schema_compat_child(side, &value);
	}
	*keyword = keywords[0];
	return eb_schema_compat_child(side, &json_true);
}

static bool
in_names(const EbJson *names, const EbJson *name)
{
	EbJsonWalk	w;
	EbJson		item;

	eb_json_walk_init(&w, names);
	while (eb_json_walk_element(&w, &item))
		if (eb_schema_json_equal(&item, name))
			return true;
	return false;
}

static bool
compare_required(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	EbJson		theirs;
	EbJson		ours;
	EbJsonWalk	w;
	EbJson		name;
	bool		found = eb_schema_compat_get(from, "required", &ours);

	if (!eb_schema_compat_get(to, "required", &theirs))
		return true;
	eb_json_walk_init(&w, &theirs);
	while (eb_json_walk_element(&w, &name))
		if (!found || !in_names(&ours, &name))
			return eb_schema_compat_fail(c, false, path, "required",
										 psprintf("requires \"%.*s\", which may be absent",
												  name.len, name.data));
	return true;
}

/* Properties that "to" names, whether or not "from" does. */
static bool
compare_named(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	EbJson		theirs;
	EbJson		ours;
	bool		found = eb_schema_compat_get(from, "properties", &ours);
	const char *keyword;
	EbSide		rest = additional_of(from, &keyword);
	EbJsonWalk	w;
	EbJson		name;
	EbJson		schema;

	if (!eb_schema_compat_get(to, "properties", &theirs))
		return true;
	eb_json_walk_init(&w, &theirs);
	while (eb_json_walk_pair(&w, &name, &schema))
	{
		EbSide		child = eb_schema_compat_child(to, &schema);
		EbSide		other = rest;
		EbJson		own;
		char	   *at = eb_schema_compile_path(path, "properties", name.data, name.len);

		if (found && eb_schema_json_get(&ours, name.data, name.len, &own, NULL))
			other = eb_schema_compat_child(from, &own);
		else if (eb_schema_compat_trivial(&rest))
			continue;			/* nobody used a name that nobody knew */
		if (!eb_schema_compat_accepts(c, &other, &child, at))
			return false;
	}
	return true;
}

/* Properties that only "from" names, and those that neither names. */
static bool
compare_unnamed(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	EbJson		theirs;
	EbJson		ours;
	bool		found = eb_schema_compat_get(to, "properties", &theirs);
	const char *keyword;
	const char *ignored;
	EbSide		rest = additional_of(to, &keyword);
	EbSide		from_rest = additional_of(from, &ignored);
	EbJsonWalk	w;
	EbJson		name;
	EbJson		schema;

	if (eb_schema_compat_trivial(&rest))
		return true;
	if (eb_schema_compat_get(from, "properties", &ours))
	{
		eb_json_walk_init(&w, &ours);
		while (eb_json_walk_pair(&w, &name, &schema))
		{
			EbSide		child = eb_schema_compat_child(from, &schema);
			EbJson		known;

			if (found && eb_schema_json_get(&theirs, name.data, name.len, &known, NULL))
				continue;
			if (!eb_schema_compat_accepts(c, &child, &rest,
										  eb_schema_compile_path(path, "properties", name.data, name.len)))
				return false;
		}
	}
	if (eb_schema_compat_trivial(&from_rest) && rest.schema.type == EB_JSON_BOOLEAN)
		return eb_schema_compat_fail(c, false, path, keyword,
									 "refuses properties that were accepted");
	return eb_schema_compat_accepts(c, &from_rest, &rest, psprintf("%s/%s", path, keyword));
}

/* Schemas in which properties may be claimed elsewhere than in "properties". */
static bool
claims_elsewhere(const EbSide *side)
{
	static const char *const keywords[] = {
		"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "not"
	};
	EbJson		value;

	for (int i = 0; i < lengthof(keywords); i++)
		if (eb_schema_compat_get(side, keywords[i], &value))
			return true;
	return false;
}

static bool
compare_dependencies(EbCompat *c, const EbSide *from, const EbSide *to,
					 const char *path, const char *keyword)
{
	EbJson		theirs;
	EbJson		ours;
	EbJson		own;
	EbJsonWalk	w;
	EbJson		name;
	EbJson		names;

	if (!eb_schema_compat_get(to, keyword, &theirs) ||
		eb_schema_compat_same(from, to, keyword))
		return true;
	if (!eb_schema_compat_get(from, keyword, &ours))
		return eb_schema_compat_fail(c, false, path, keyword, "is new");
	eb_json_walk_init(&w, &theirs);
	while (eb_json_walk_pair(&w, &name, &names))
	{
		EbJsonWalk	wn;
		EbJson		needed;

		if (!eb_schema_json_get(&ours, name.data, name.len, &own, NULL) ||
			names.type != EB_JSON_ARRAY || own.type != EB_JSON_ARRAY)
			return eb_schema_compat_fail(c, true, path, keyword, "changed");
		eb_json_walk_init(&wn, &names);
		while (eb_json_walk_element(&wn, &needed))
			if (!in_names(&own, &needed))
				return eb_schema_compat_fail(c, false, path, keyword, "is stricter");
	}
	return true;
}

bool
eb_schema_compat_objects(EbCompat *c, const EbSide *from, const EbSide *to,
						 const char *path)
{
	EbJson		value;
	EbJson		names;
	bool		patterns = eb_schema_compat_get(to, "patternProperties", &value) ||
		eb_schema_compat_get(from, "patternProperties", &value);

	if (!compare_required(c, from, to, path) ||
		!compare_dependencies(c, from, to, path, "dependentRequired") ||
		!compare_dependencies(c, from, to, path, "dependencies"))
		return false;
	if (eb_schema_compat_get(to, "propertyNames", &names))
	{
		EbSide		theirs = eb_schema_compat_child(to, &names);
		EbSide		ours = eb_schema_compat_child(from, eb_schema_compat_get(from, "propertyNames", &value) ?
												  &value : &json_true);

		if (!eb_schema_compat_accepts(c, &ours, &theirs, psprintf("%s/propertyNames", path)))
			return false;
	}

	/* patterns overlap with names and with each other: all or nothing */
	if (patterns && !(eb_schema_compat_same(from, to, "patternProperties") &&
					  eb_schema_compat_same(to, from, "patternProperties") &&
					  eb_schema_compat_same(from, to, "properties") &&
					  eb_schema_compat_same(to, from, "properties")))
		return eb_schema_compat_fail(c, true, path, "patternProperties", "or the properties beside it changed");
	if (eb_schema_compat_get(to, "unevaluatedProperties", &value) &&
		(claims_elsewhere(from) || claims_elsewhere(to)))
		return eb_schema_compat_fail(c, true, path, "unevaluatedProperties",
									 "stands beside a combination or a reference");
	return compare_named(c, from, to, path) && compare_unnamed(c, from, to, path);
}

/* The schemas of an array's items in either draft. */
static void
items_of(const EbSide *side, EbJson *prefix, int *n, EbSide *rest)
{
	EbDraft		draft = ((EbResource *) list_nth(side->document->resources, side->resource))->draft;
	const char *rest_keyword = "items";
	EbJson		value;

	*n = 0;
	if (eb_schema_compat_get(side, draft == EB_DRAFT_07 ? "items" : "prefixItems", prefix) &&
		prefix->type == EB_JSON_ARRAY)
	{
		*n = EbJsonCount(prefix);
		if (draft == EB_DRAFT_07)
			rest_keyword = "additionalItems";
	}
	*rest = eb_schema_compat_child(side, eb_schema_compat_get(side, rest_keyword, &value) ?
								   &value : &json_true);
}

static EbSide
item_at(const EbSide *side, const EbJson *prefix, int n, const EbSide *rest, int i)
{
	EbJson		item;

	if (i >= n)
		return *rest;
	eb_schema_json_element(prefix, i, &item);
	return eb_schema_compat_child(side, &item);
}

bool
eb_schema_compat_arrays(EbCompat *c, const EbSide *from, const EbSide *to,
						const char *path)
{
	EbJson		from_prefix;
	EbJson		to_prefix;
	int			from_n;
	int			to_n;
	EbSide		from_rest;
	EbSide		to_rest;

	items_of(from, &from_prefix, &from_n, &from_rest);
	items_of(to, &to_prefix, &to_n, &to_rest);
	for (int i = 0; i <= Max(from_n, to_n); i++)
	{
		EbSide		ours = item_at(from, &from_prefix, from_n, &from_rest, i);
		EbSide		theirs = item_at(to, &to_prefix, to_n, &to_rest, i);

		if (!eb_schema_compat_accepts(c, &ours, &theirs, i == Max(from_n, to_n) ?
									  psprintf("%s/items", path) :
									  psprintf("%s/items/%d", path, i)))
			return false;
	}
	return true;
}
