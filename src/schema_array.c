/*
 * schema_array.c
 *		Evaluates the keywords that concern arrays.
 */
#include "postgres.h"

#include "schema_eval.h"

/* an item that a schema which is plainly false refuses */
static bool
eval_rest(EbEval *ev, const EbNode *node, int target, const EbJson *value,
		  int index, const char *keyword)
{
	if (ev->schema->nodes[target].types == 0 && ev->collect)
	{
		EbStep		step = {ev->step, NULL, 0, index};

		ev->step = &step;
		eb_schema_violation(ev, node, keyword, "is not an allowed item");
		ev->step = step.parent;
		return false;
	}
	return eb_schema_eval_item(ev, target, value, index);
}

static bool
eval_items(EbEval *ev, const EbNode *node, const EbItems *items,
		   const EbJson *v, EbMarks *marks)
{
	bool		ok = true;
	EbJsonWalk	w;
	EbJson		value;

	eb_json_walk_init(&w, v);
	if (marks)
	{
		if (items->rest != EB_NODE_NONE)
			marks->all = true;
		for (int i = 0; i < Min(items->nprefix, w.n); i++)
			eb_schema_marks_set(marks, i);
	}
	while ((ok || ev->collect) && eb_json_walk_element(&w, &value))
	{
		int			index = w.i - 1;

		if (index < items->nprefix)
			ok &= eb_schema_eval_item(ev, items->prefix[index], &value, index);
		else if (items->rest == EB_NODE_NONE)
			break;
		else
			ok &= eval_rest(ev, node, items->rest, &value, index,
							items->rest_keyword);
	}
	return ok;
}

static bool
eval_contains(EbEval *ev, const EbNode *node, const EbContains *c,
			  const EbJson *v, EbMarks *marks)
{
	int64		count = 0;
	EbJsonWalk	w;
	EbJson		value;

	eb_json_walk_init(&w, v);
	while (eb_json_walk_element(&w, &value))
	{
		if (!eb_schema_eval_silently(ev, c->node, &value, NULL))
			continue;
		count++;
		if (marks && c->marks)
			eb_schema_marks_set(marks, w.i - 1);
		else if (c->max < 0 && count >= c->min)
			return true;
	}
	if (count < c->min)
		return eb_schema_violation(ev, node, c->min == 1 ? "contains" : "minContains",
								   "must contain at least " INT64_FORMAT " matching items, has " INT64_FORMAT,
								   c->min, count);
	if (c->max >= 0 && count > c->max)
		return eb_schema_violation(ev, node, "maxContains",
								   "must contain at most " INT64_FORMAT " matching items, has " INT64_FORMAT,
								   c->max, count);
	return true;
}

static bool
eval_unevaluated(EbEval *ev, const EbNode *node, const EbOp *op,
				 const EbJson *v, EbMarks *marks)
{
	bool		ok = true;
	EbJsonWalk	w;
	EbJson		value;

	eb_json_walk_init(&w, v);
	while ((ok || ev->collect) && eb_json_walk_element(&w, &value))
		if (!eb_schema_marks_get(marks, w.i - 1))
			ok &= eval_rest(ev, node, op->node, &value, w.i - 1,
							"unevaluatedItems");
	marks->all = true;
	return ok;
}

static bool
eval_unique(EbEval *ev, const EbNode *node, const EbJson *v)
{
	int			first;
	int			second;

	if (eb_schema_json_unique(v, &first, &second))
		return true;
	return eb_schema_violation(ev, node, "uniqueItems",
							   "must not repeat an item (%d and %d are equal)",
							   first, second);
}

bool
eb_schema_array_eval(EbEval *ev, const EbNode *node, const EbOp *op,
					 const EbJson *v, EbMarks *marks)
{
	switch (op->code)
	{
		case EB_OP_MIN_ITEMS:
			if (EbJsonCount(v) >= op->number)
				return true;
			return eb_schema_violation(ev, node, "minItems",
									   "must have at least " INT64_FORMAT " items",
									   op->number);
		case EB_OP_MAX_ITEMS:
			if (EbJsonCount(v) <= op->number)
				return true;
			return eb_schema_violation(ev, node, "maxItems",
									   "must have at most " INT64_FORMAT " items",
									   op->number);
		case EB_OP_UNIQUE_ITEMS:
			return eval_unique(ev, node, v);
		case EB_OP_ITEMS:
			return eval_items(ev, node, op->u.items, v, marks);
		case EB_OP_CONTAINS:
			return eval_contains(ev, node, op->u.contains, v, marks);
		case EB_OP_UNEVALUATED_ITEMS:
			return eval_unevaluated(ev, node, op, v, marks);
		default:
			elog(ERROR, "unexpected schema operation %d", op->code);
			return false;
	}
}
