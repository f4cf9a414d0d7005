/*
 * schema_object.c
 *		Evaluates the keywords that concern objects.
 *
 * properties, required, patternProperties, additionalProperties and
 * propertyNames are one merge pass: Jsonb keeps its keys sorted, and the
 * compiler sorts the names of the schema in the same order.
 */
#include "postgres.h"

#include "schema_eval.h"

static bool
missing(EbEval *ev, const EbNode *node, const EbProperty *p)
{
	if (!ev->collect)
		return false;
	return eb_schema_violation(ev, node, "required",
							   "must have the property %s",
							   eb_schema_violation_quote(p->name, p->len));
}

/* a pair that no property or pattern claims */
static bool
eval_additional(EbEval *ev, const EbNode *node, int target,
				const EbJson *key, const EbJson *value, const char *keyword)
{
	const EbNode *schema = &ev->schema->nodes[target];

	if (schema->types == 0 && ev->collect)
	{
		EbStep		step = {ev->step, key->data, key->len, 0};

		ev->step = &step;
		eb_schema_violation(ev, node, keyword, "is not an allowed property");
		ev->step = step.parent;
		return false;
	}
	return eb_schema_eval_member(ev, target, value, key);
}

static bool
eval_name(EbEval *ev, const EbPropertyTable *table, const EbJson *key)
{
	return eb_schema_eval_member(ev, table->names, key, key);
}

/* Everything about one pair; p is its entry in properties, or NULL. */
static bool
eval_pair(EbEval *ev, const EbNode *node, const EbPropertyTable *table,
		  const EbProperty *p, const EbJson *key, const EbJson *value,
		  int index, EbMarks *marks)
{
	bool		ok = true;
	bool		claimed = false;

	if (table->names != EB_NODE_NONE)
		ok &= eval_name(ev, table, key);
	if (p != NULL && p->node != EB_NODE_NONE)
	{
		claimed = true;
		ok &= eb_schema_eval_member(ev, p->node, value, key);
	}
	for (int i = 0; i < table->npatterns && (ok || ev->collect); i++)
	{
		if (!eb_schema_regex_matches(table->patterns[i].regex, key->data, key->len))
			continue;
		claimed = true;
		ok &= eb_schema_eval_member(ev, table->patterns[i].node, value, key);
	}
	if (!claimed && table->additional != EB_NODE_NONE && (ok || ev->collect))
	{
		claimed = true;
		ok &= eval_additional(ev, node, table->additional, key, value,
							  "additionalProperties");
	}
	if (claimed && marks)
		eb_schema_marks_set(marks, index);
	return ok;
}

static bool
eval_properties(EbEval *ev, const EbNode *node, const EbPropertyTable *table,
				const EbJson *v, EbMarks *marks)
{
	const EbProperty *p = table->properties;
	const EbProperty *end = p + table->n;
	bool		each = table->npatterns > 0 || marks != NULL ||
		table->names != EB_NODE_NONE;
	bool		others = each || table->additional != EB_NODE_NONE;
	bool		ok = true;
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;

	if (EbJsonCount(v) < table->nrequired && !ev->collect)
		return false;
	eb_json_walk_init(&w, v);
	while (eb_json_walk_pair(&w, &key, &value))
	{
		int			cmp = -1;

		while (p < end &&
			   (cmp = eb_json_key_cmp(p->name, p->len, key.data, key.len)) < 0)
		{
			if (p->required && !(ok = missing(ev, node, p)) && !ev->collect)
				return false;
			p++;
		}
		if (p < end && cmp == 0)
		{
			if (each)
				ok &= eval_pair(ev, node, table, p, &key, &value, w.i - 1, marks);
			else if (p->node != EB_NODE_NONE)
				ok &= eb_schema_eval_member(ev, p->node, &value, &key);
			else if (others)	/* required, but without a schema */
				ok &= eval_pair(ev, node, table, p, &key, &value, w.i - 1, marks);
			p++;
		}
		else if (others)
			ok &= eval_pair(ev, node, table, NULL, &key, &value, w.i - 1, marks);
		else if (p == end)
			break;
		if (!ok && !ev->collect)
			return false;
	}
	for (; p < end && (ok || ev->collect); p++)
		if (p->required)
			ok = missing(ev, node, p);
	return ok;
}

static bool
eval_dependency(EbEval *ev, const EbNode *node, const EbOp *op,
				const EbJson *v, EbMarks *marks)
{
	const EbDependency *d = op->u.dependency;
	bool		ok = true;
	EbJson		ignored;

	if (!eb_schema_json_get(v, d->name, d->len, &ignored, NULL))
		return true;
	if (op->code == EB_OP_DEPENDENT_SCHEMA)
		return eb_schema_eval_node(ev, d->node, v, marks);
	for (int i = 0; i < d->n && (ok || ev->collect); i++)
	{
		if (eb_schema_json_get(v, d->names[i].data, d->names[i].len, &ignored, NULL))
			continue;
		ok = false;
		if (ev->collect)
			eb_schema_violation(ev, node, d->keyword,
								"must have the property %s because it has %s",
								eb_schema_violation_quote(d->names[i].data, d->names[i].len),
								eb_schema_violation_quote(d->name, d->len));
	}
	return ok;
}

static bool
eval_unevaluated(EbEval *ev, const EbNode *node, const EbOp *op,
				 const EbJson *v, EbMarks *marks)
{
	bool		ok = true;
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;

	eb_json_walk_init(&w, v);
	while ((ok || ev->collect) && eb_json_walk_pair(&w, &key, &value))
		if (!eb_schema_marks_get(marks, w.i - 1))
			ok &= eval_additional(ev, node, op->node, &key, &value,
								  "unevaluatedProperties");
	marks->all = true;
	return ok;
}

bool
eb_schema_object_eval(EbEval *ev, const EbNode *node, const EbOp *op,
					  const EbJson *v, EbMarks *marks)
{
	switch (op->code)
	{
		case EB_OP_PROPERTIES:
			return eval_properties(ev, node, op->u.properties, v, marks);
		case EB_OP_MIN_PROPERTIES:
			if (EbJsonCount(v) >= op->number)
				return true;
			return eb_schema_violation(ev, node, "minProperties",
									   "must have at least " INT64_FORMAT " properties",
									   op->number);
		case EB_OP_MAX_PROPERTIES:
			if (EbJsonCount(v) <= op->number)
				return true;
			return eb_schema_violation(ev, node, "maxProperties",
									   "must have at most " INT64_FORMAT " properties",
									   op->number);
		case EB_OP_DEPENDENT_REQUIRED:
		case EB_OP_DEPENDENT_SCHEMA:
			return eval_dependency(ev, node, op, v, marks);
		case EB_OP_UNEVALUATED_PROPERTIES:
			return eval_unevaluated(ev, node, op, v, marks);
		default:
			elog(ERROR, "unexpected schema operation %d", op->code);
			return false;
	}
}
