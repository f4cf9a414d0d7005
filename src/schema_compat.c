/*
 * schema_compat.c
 *		Is a new version of a contract compatible with the one before?
 *
 * One question, asked in one direction or both: is everything that the first
 * schema accepts accepted by the second?  The answer is conservative: yes, no,
 * or "cannot be decided", which counts as no.  The rules stand in
 * docs/contracts.md; this file has those for references and combinations.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "schema_compat.h"
#include "schema_compat_rules.h"

/* comparisons before giving up: alternatives multiply */
#define MAX_STEPS			20000

typedef struct EbPair
{
	const char *from;
	const char *to;
} EbPair;

bool
eb_schema_compat_fail(EbCompat *c, bool undecided, const char *path,
					  const char *keyword, const char *reason)
{
	if (!c->failed)
	{
		c->failed = true;
		c->undecided = undecided;
		c->path = keyword ? psprintf("%s/%s", path, keyword) : pstrdup(path);
		c->reason = pstrdup(reason);
	}
	return false;
}

bool
eb_schema_compat_get(const EbSide *side, const char *keyword, EbJson *value)
{
	return side->schema.type == EB_JSON_OBJECT &&
		eb_schema_json_get(&side->schema, keyword, strlen(keyword), value, NULL);
}

/* A subschema below this one, with the base URI that holds there. */
EbSide
eb_schema_compat_child(const EbSide *side, const EbJson *schema)
{
	EbSide		child = {side->document, *schema, side->resource};
	EbLocation *location = schema->type == EB_JSON_OBJECT ?
		eb_schema_index_location(side->document, schema) : NULL;

	if (location)
		child.resource = location->resource;
	return child;
}

/* Does the schema accept everything? */
bool
eb_schema_compat_trivial(const EbSide *side)
{
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;

	if (side->schema.type == EB_JSON_BOOLEAN)
		return side->schema.boolean;
	eb_json_walk_init(&w, &side->schema);
	while (eb_json_walk_pair(&w, &key, &value))
	{
		const EbKeyword *keyword = eb_schema_keyword_lookup(key.data, key.len);

		if (keyword && strcmp(keyword->name, "$defs") != 0 &&
			strcmp(keyword->name, "definitions") != 0 &&
			strcmp(keyword->name, "$anchor") != 0)
			return false;
	}
	return true;
}

static bool
contains_reference(const EbJson *v)
{
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;

	if (v->type != EB_JSON_OBJECT && v->type != EB_JSON_ARRAY)
		return false;
	check_stack_depth();
	eb_json_walk_init(&w, v);
	if (v->type == EB_JSON_ARRAY)
	{
		while (eb_json_walk_element(&w, &value))
			if (contains_reference(&value))
				return true;
		return false;
	}
	while (eb_json_walk_pair(&w, &key, &value))
		if (eb_json_is_string(&key, "$ref") || eb_json_is_string(&key, "$dynamicRef") ||
			contains_reference(&value))
			return true;
	return false;
}

/* Is the keyword absent from "to", or the same on both sides and self-contained? */
bool
eb_schema_compat_same(const EbSide *from, const EbSide *to, const char *keyword)
{
	EbJson		f;
	EbJson		t;

	if (!eb_schema_compat_get(to, keyword, &t))
		return true;
	return eb_schema_compat_get(from, keyword, &f) &&
		eb_schema_json_equal(&f, &t) && !contains_reference(&t);
}

/* What $ref leads to; false if the schema has none. */
static bool
follow_ref(const EbSide *side, EbSide *target)
{
	EbNodeBuilder b = {.compiler = side->document,.resource = side->resource,.path = ""};
	EbJson		ref;

	if (!eb_schema_compat_get(side, "$ref", &ref))
		return false;
	target->document = side->document;
	eb_schema_ref_resolve(&b, "$ref", &ref, &target->schema, &target->resource);
	return true;
}

/* Runs a comparison whose failure is only one of several chances. */
static bool
attempt(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	EbCompat	saved = *c;
	bool		ok = eb_schema_compat_accepts(c, from, to, path);
	int			steps = c->steps;

	if (!ok)
		*c = saved;
	c->steps = steps;
	return ok;
}

/* Is "from" accepted by at least one element of the list? */
static bool
accepted_by_one(EbCompat *c, const EbSide *from, const EbSide *to,
				const EbJson *list, const char *path)
{
	EbJsonWalk	w;
	EbJson		item;

	eb_json_walk_init(&w, list);
	while (eb_json_walk_element(&w, &item))
	{
		EbSide		branch = eb_schema_compat_child(to, &item);

		if (attempt(c, from, &branch, path))
			return true;
	}
	return false;
}

static bool
alternative_accepted(EbCompat *c, const EbSide *from, const EbJson *alternatives,
					 const EbSide *to, const EbJson *list, const char *path)
{
	EbJsonWalk	w;
	EbJson		item;

	eb_json_walk_init(&w, alternatives);
	while (eb_json_walk_element(&w, &item))
	{
		EbSide		branch = eb_schema_compat_child(from, &item);

		if (!accepted_by_one(c, &branch, to, list, path))
		{
			c->steps++;
			return eb_schema_compat_fail(c, true, psprintf("%s/%d", path, w.i - 1), NULL,
										 "is not accepted by any one alternative of the other version, as far as can be told");
		}
	}
	return true;
}

/* The string that a branch requires of a property */
static bool
branch_tag(const EbSide *branch, const EbJson *name, EbJson *tag)
{
	EbSide		target = *branch;
	EbJson		properties;
	EbJson		property;
	EbJson		values;

	while (follow_ref(&target, &target))
		CHECK_FOR_INTERRUPTS();
	if (!eb_schema_compat_get(&target, "properties", &properties) ||
		!eb_schema_json_get(&properties, name->data, name->len, &property, NULL) ||
		property.type != EB_JSON_OBJECT)
		return false;
	if (eb_schema_json_get(&property, "const", 5, tag, NULL))
		return tag->type == EB_JSON_STRING;
	return eb_schema_json_get(&property, "enum", 4, &values, NULL) &&
		values.type == EB_JSON_ARRAY && EbJsonCount(&values) == 1 &&
		eb_schema_json_element(&values, 0, tag) && tag->type == EB_JSON_STRING;
}

/* Can at most one branch of a oneOf match?  By a required, distinct string. */
static bool
is_tagged(const EbSide *side, const EbJson *list)
{
	int			n = EbJsonCount(list);
	EbJson		first;
	EbSide		branch;
	EbJson		required;
	EbJsonWalk	w;
	EbJson		name = {0};

	if (!eb_schema_json_element(list, 0, &first))
		return false;
	branch = eb_schema_compat_child(side, &first);
	while (follow_ref(&branch, &branch))
		CHECK_FOR_INTERRUPTS();
	if (!eb_schema_compat_get(&branch, "required", &required) ||
		required.type != EB_JSON_ARRAY)
		return false;
	eb_json_walk_init(&w, &required);
	while (eb_json_walk_element(&w, &name))
	{
		EbJson	   *tags = palloc(sizeof(EbJson) * n);
		int			i;

		for (i = 0; i < n; i++)
		{
			EbJson		item;

			eb_schema_json_element(list, i, &item);
			branch = eb_schema_compat_child(side, &item);
			if (!branch_tag(&branch, &name, &tags[i]))
				break;
			for (int j = 0; j < i; j++)
				if (eb_schema_json_equal(&tags[i], &tags[j]))
					return false;
		}
		if (i == n)
			return true;
	}
	return false;
}

/* anyOf or oneOf: every alternative must find one that takes it */
static bool
compare_alternatives(EbCompat *c, const EbSide *from, const EbSide *to,
					 const char *keyword, const char *path)
{
	EbJson		theirs;
	EbJson		ours;
	bool		found;

	if (!eb_schema_compat_get(to, keyword, &theirs))
		return true;
	if (strcmp(keyword, "oneOf") == 0 && !is_tagged(to, &theirs) &&
		!eb_schema_compat_same(from, to, keyword))
		return eb_schema_compat_fail(c, true, path, keyword,
									 "changed, and its alternatives are not told apart by one required property with a constant string");
	found = eb_schema_compat_get(from, keyword, &ours) ||
		eb_schema_compat_get(from, strcmp(keyword, "oneOf") == 0 ? "anyOf" : "oneOf", &ours);
	path = psprintf("%s/%s", path, keyword);
	if (found)
		return alternative_accepted(c, from, &ours, to, &theirs, path);
	return accepted_by_one(c, from, to, &theirs, path) ||
		eb_schema_compat_fail(c, true, path, NULL,
							  "is new, and no single alternative accepts what was accepted before, as far as can be told");
}

/* allOf: each element is implied by an element, or by the whole */
static bool
compare_all(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	EbJson		theirs;
	EbJson		ours;
	EbJsonWalk	w;
	EbJson		item;
	bool		found = eb_schema_compat_get(from, "allOf", &ours);

	if (!eb_schema_compat_get(to, "allOf", &theirs))
		return true;
	eb_json_walk_init(&w, &theirs);
	while (eb_json_walk_element(&w, &item))
	{
		EbSide		element = eb_schema_compat_child(to, &item);
		char	   *at = psprintf("%s/allOf/%d", path, w.i - 1);
		bool		implied = false;
		EbJsonWalk	wo;
		EbJson		other;

		if (found)
		{
			eb_json_walk_init(&wo, &ours);
			while (!implied && eb_json_walk_element(&wo, &other))
			{
				EbSide		candidate = eb_schema_compat_child(from, &other);

				implied = attempt(c, &candidate, &element, at);
			}
		}
		if (!implied && !attempt(c, from, &element, at))
			return eb_schema_compat_fail(c, true, at, NULL,
										 "is not implied by the other version, as far as can be told");
	}
	return true;
}

/* keywords that are only ever the same, or gone */
static bool
compare_opaque(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	static const char *const opaque[] = {
		"not", "if", "then", "else", "contains", "minContains", "maxContains",
		"dependentSchemas", "unevaluatedItems", "$dynamicRef", "$dynamicAnchor",
	};
	EbJson		condition;
	bool		conditional = eb_schema_compat_get(to, "if", &condition);

	for (int i = 0; i < lengthof(opaque); i++)
	{
		if (!conditional && (strcmp(opaque[i], "then") == 0 || strcmp(opaque[i], "else") == 0))
			continue;
		if (!eb_schema_compat_same(from, to, opaque[i]))
			return eb_schema_compat_fail(c, true, path, opaque[i], "changed");
	}
	/* an "if" kept while its then or else went away only widens */
	return true;
}

/* Both are objects without $ref, or with it on neither side that matters. */
static bool
compare_keywords(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	return eb_schema_compat_values(c, from, to, path) &&
		eb_schema_compat_objects(c, from, to, path) &&
		eb_schema_compat_arrays(c, from, to, path) &&
		compare_all(c, from, to, path) &&
		compare_alternatives(c, from, to, "anyOf", path) &&
		compare_alternatives(c, from, to, "oneOf", path) &&
		compare_opaque(c, from, to, path);
}

/* All alternatives of "from" (or one of its allOf) accepted by the whole of "to"? */
static bool
parts_accepted(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	static const char *const keywords[] = {"allOf", "anyOf", "oneOf"};

	for (int i = 0; i < lengthof(keywords); i++)
	{
		EbJson		list;
		EbJsonWalk	w;
		EbJson		item;
		int			accepted = 0;

		if (!eb_schema_compat_get(from, keywords[i], &list))
			continue;
		eb_json_walk_init(&w, &list);
		while (eb_json_walk_element(&w, &item))
		{
			EbSide		part = eb_schema_compat_child(from, &item);

			accepted += attempt(c, &part, to, path);
		}
		if (accepted == w.n || (i == 0 && accepted > 0))
			return true;
	}
	return false;
}

/* Keyword by keyword, then, if "from" is a combination, through its parts. */
static bool
compare_objects(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	EbCompat	saved = *c;
	EbCompat	failure;
	EbJson		value;

	if (compare_keywords(c, from, to, path))
		return true;
	if (!eb_schema_compat_get(from, "allOf", &value) &&
		!eb_schema_compat_get(from, "anyOf", &value) &&
		!eb_schema_compat_get(from, "oneOf", &value))
		return false;
	failure = *c;
	*c = saved;
	c->steps = failure.steps;
	if (parts_accepted(c, from, to, path))
		return true;
	failure.undecided = true;
	failure.steps = c->steps;
	*c = failure;
	return false;
}

static bool
has_siblings(const EbSide *side)
{
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;

	eb_json_walk_init(&w, &side->schema);
	while (eb_json_walk_pair(&w, &key, &value))
	{
		const EbKeyword *keyword = eb_schema_keyword_lookup(key.data, key.len);

		if (keyword && strcmp(keyword->name, "$ref") != 0 &&
			strcmp(keyword->name, "$defs") != 0 && strcmp(keyword->name, "definitions") != 0)
			return ((EbResource *) list_nth(side->document->resources, side->resource))->draft != EB_DRAFT_07;
	}
	return false;
}

static bool
compare_references(EbCompat *c, const EbSide *from, const EbSide *to, const char *path)
{
	EbSide		from_target;
	EbSide		to_target;
	bool		from_ref = follow_ref(from, &from_target);
	bool		to_ref = follow_ref(to, &to_target);

	if (to_ref)
	{
		if (has_siblings(to) && !compare_keywords(c, from, to, path))
			return false;
		if (!from_ref || has_siblings(from))
			return (from_ref && attempt(c, &from_target, &to_target, path)) ||
				eb_schema_compat_accepts(c, from, &to_target, path);
		return eb_schema_compat_accepts(c, &from_target, &to_target, path);
	}
	if (has_siblings(from) && attempt(c, &from_target, to, path))
		return true;
	if (has_siblings(from))
		return compare_keywords(c, from, to, path);
	return eb_schema_compat_accepts(c, &from_target, to, path);
}

/* Is every value that "from" accepts accepted by "to"? */
bool
eb_schema_compat_accepts(EbCompat *c, const EbSide *from, const EbSide *to,
						 const char *path)
{
	EbPair	   *pair;
	ListCell   *lc;
	EbJson		ref;
	bool		ok;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (++c->steps > MAX_STEPS)
		return eb_schema_compat_fail(c, true, path, NULL, "is too intricate to compare");
	if (from->schema.type == EB_JSON_BOOLEAN && !from->schema.boolean)
		return true;
	if (eb_schema_compat_trivial(to))
		return true;
	if (to->schema.type == EB_JSON_BOOLEAN)
		return eb_schema_compat_fail(c, false, path, NULL, "accepts nothing any more");
	foreach(lc, c->assumed)
	{
		pair = lfirst(lc);
		if (pair->from == from->schema.data && pair->to == to->schema.data &&
			from->schema.type == EB_JSON_OBJECT)
			return true;
	}
	pair = palloc(sizeof(EbPair));
	pair->from = from->schema.type == EB_JSON_OBJECT ? from->schema.data : NULL;
	pair->to = to->schema.data;
	c->assumed = lappend(list_copy(c->assumed), pair);
	if (eb_schema_compat_get(from, "$ref", &ref) || eb_schema_compat_get(to, "$ref", &ref))
		ok = compare_references(c, from, to, path);
	else
		ok = compare_objects(c, from, to, path);
	c->assumed = list_truncate(c->assumed, list_length(c->assumed) - 1);
	return ok;
}

void
eb_schema_compat_check_mode(const char *mode)
{
	if (strcmp(mode, "none") != 0 && strcmp(mode, "backward") != 0 &&
		strcmp(mode, "forward") != 0 && strcmp(mode, "full") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("compatibility \"%s\" is unknown", mode),
				 errhint("It is one of none, backward, forward and full.")));
}

static void
check_direction(const char *name, int version, const EbSide *from,
				const EbSide *to, const char *direction)
{
	EbCompat	c = {0};

	if (eb_schema_compat_accepts(&c, from, to, ""))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("schema is not %s compatible with version %d of \"%s\": %s %s%s",
					direction, version, name, *c.path ? c.path : "the schema", c.reason,
					c.undecided ? "; its effect cannot be decided" : ""),
			 errdetail(strcmp(direction, "backward") == 0 ?
					   "The new version must accept every payload that the one before accepts." :
					   "The version before must accept every payload that the new one accepts."),
			 errhint("Register it under another type, or with compatibility => 'none'.")));
}

void
eb_schema_compat_check(const char *name, int version, Jsonb *older, Jsonb *newer,
					   const char *mode)
{
	EbSide		old_side = {0};
	EbSide		new_side = {0};
	bool		full = strcmp(mode, "full") == 0;

	if (strcmp(mode, "none") == 0)
		return;
	old_side.document = eb_schema_compile_open(older, &old_side.schema);
	new_side.document = eb_schema_compile_open(newer, &new_side.schema);
	if (full || strcmp(mode, "backward") == 0)
		check_direction(name, version, &old_side, &new_side, "backward");
	if (full || strcmp(mode, "forward") == 0)
		check_direction(name, version, &new_side, &old_side, "forward");
}
