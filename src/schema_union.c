/*
 * schema_union.c
 *		Evaluates anyOf and oneOf.
 *
 * The compiler recognises a union whose branches are told apart by one property
 * (the "type" or "_tag" of a TypeScript union): then the branch is looked up by
 * that property's value, not found by trial, and its violations are the ones
 * to report.
 */
#include "postgres.h"

#include "schema_eval.h"

/* The only branch that can match, -1 if none can, -2 if it is not so simple */
static int
tagged_branch(const EbNodeList *list, const EbJson *v)
{
	EbJson		tag;

	if (list->tag == NULL || v->type != EB_JSON_OBJECT)
		return -2;
	if (!eb_schema_json_get(v, list->tag, list->taglen, &tag, NULL) ||
		tag.type != EB_JSON_STRING)
		return -1;
	for (int i = 0; i < list->n; i++)
		if (list->tags[i].len == tag.len &&
			memcmp(list->tags[i].data, tag.data, tag.len) == 0)
			return i;
	return -1;
}

/* Does this violation tell that the branch was not the one that was meant? */
static bool
shows_other_branch(const EbViolation *violation, const char *base)
{
	const char *rest = violation->instance_path + strlen(base);

	if (strcmp(violation->keyword, "type") == 0)
		return *rest == '\0';
	if (strcmp(violation->keyword, "const") != 0 &&
		strcmp(violation->keyword, "enum") != 0)
		return false;
	return *rest == '\0' || strchr(rest + 1, '/') == NULL;
}

static bool
meant(List *violations, const char *base)
{
	ListCell   *lc;

	foreach(lc, violations)
		if (shows_other_branch(lfirst(lc), base))
			return false;
	return true;
}

/*
 * None matched: the violation itself, then those of the branches that seem to
 * have been meant (of all, if there is none such).
 */
static bool
report_none(EbEval *ev, const EbNode *node, const EbNodeList *list,
			const EbJson *v, const char *keyword)
{
	List	   *outer = ev->violations;
	List	  **branches = palloc0(sizeof(List *) * Max(list->n, 1));
	char	   *base;
	bool		any = false;

	ev->violations = NIL;
	eb_schema_violation(ev, node, keyword,
						"must match one of the %d alternatives, matches none",
						list->n);
	if (ev->violations == NIL)
	{
		ev->violations = outer;
		return false;
	}
	base = ((EbViolation *) linitial(ev->violations))->instance_path;
	outer = list_concat(outer, ev->violations);
	for (int i = 0; i < list->n; i++)
	{
		ev->violations = NIL;
		(void) eb_schema_eval_node(ev, list->nodes[i], v, NULL);
		branches[i] = ev->violations;
		any |= meant(branches[i], base);
	}
	for (int i = 0; i < list->n; i++)
	{
		ListCell   *lc;

		if (any && !meant(branches[i], base))
			continue;
		foreach(lc, branches[i])
			if (list_length(outer) < ev->limit)
				outer = lappend(outer, lfirst(lc));
	}
	ev->violations = outer;
	return false;
}

static bool
eval_tagged(EbEval *ev, const EbNode *node, const EbNodeList *list, int branch,
			const EbJson *v, EbMarks *marks, const char *keyword)
{
	if (branch >= 0)
		return eb_schema_eval_node(ev, list->nodes[branch], v, marks);
	if (!ev->collect)
		return false;
	return eb_schema_violation(ev, node, keyword,
							   "must have a property %s that names one of the %d alternatives",
							   eb_schema_violation_quote(list->tag, list->taglen),
							   list->n);
}

bool
eb_schema_union_eval(EbEval *ev, const EbNode *node, const EbOp *op,
					 const EbJson *v, EbMarks *marks)
{
	const EbNodeList *list = op->u.list;
	bool		one = op->code == EB_OP_ONE_OF;
	const char *keyword = one ? "oneOf" : "anyOf";
	int			branch = tagged_branch(list, v);
	int			matches = 0;

	if (branch != -2)
		return eval_tagged(ev, node, list, branch, v, marks, keyword);
	for (int i = 0; i < list->n; i++)
	{
		EbMarks		local;

		if (marks)
			eb_schema_marks_init(&local, v);
		if (eb_schema_eval_silently(ev, list->nodes[i], v, marks ? &local : NULL))
		{
			matches++;
			if (marks)
				eb_schema_marks_merge(marks, &local);
		}
		if (marks)
			eb_schema_marks_free(&local);
		if (one ? matches > 1 : (matches == 1 && marks == NULL))
			break;
	}
	if (matches == 1 || (matches > 1 && !one))
		return true;
	if (matches == 0)
		return ev->collect ? report_none(ev, node, list, v, keyword) : false;
	return eb_schema_violation(ev, node, keyword,
							   "must match exactly one of the %d alternatives, matches more",
							   list->n);
}
