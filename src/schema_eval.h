/*
 * Shared by the files of the evaluator.
 */
#ifndef EB_SCHEMA_EVAL_H
#define EB_SCHEMA_EVAL_H

#include "schema_program.h"

/* the "keyword" of a violation of the schema false, which has no keywords */
#define EB_FALSE_SCHEMA		"false schema"

/* Which items or pairs of the instance at hand were evaluated so far. */
typedef struct EbMarks
{
	bool		all;
	uint64		first;			/* the first 64 */
	int			n;
	uint64	   *more;			/* the others, allocated on demand */
} EbMarks;

/* One step of the instance path, on the C stack. */
typedef struct EbStep
{
	const struct EbStep *parent;
	const char *key;			/* NULL: index */
	int			len;
	int			index;
} EbStep;

/* One schema resource entered, innermost first, on the C stack. */
typedef struct EbScope
{
	const struct EbScope *parent;
	int			resource;
} EbScope;

typedef struct EbEval
{
	const EbSchema *schema;
	int64		steps_left;		/* against schemas that branch without end */
	int			until_interrupt;
	bool		collect;		/* report to violations, or just stop? */
	List	   *violations;
	int			limit;
	const EbStep *step;
	const EbScope *scope;
} EbEval;

extern bool eb_schema_eval_node(EbEval *ev, int node, const EbJson *v,
								EbMarks *marks);
extern bool eb_schema_eval_silently(EbEval *ev, int node, const EbJson *v,
									EbMarks *marks);

/* at a child of the instance, noting the way there */
extern bool eb_schema_eval_at(EbEval *ev, int node, const EbJson *v,
							  const EbStep *step);

extern bool eb_schema_array_eval(EbEval *ev, const EbNode *node, const EbOp *op,
								 const EbJson *v, EbMarks *marks);
extern bool eb_schema_object_eval(EbEval *ev, const EbNode *node, const EbOp *op,
								  const EbJson *v, EbMarks *marks);
extern bool eb_schema_union_eval(EbEval *ev, const EbNode *node, const EbOp *op,
								 const EbJson *v, EbMarks *marks);

/* Records a violation if they are collected; always returns false. */
extern bool eb_schema_violation(EbEval *ev, const EbNode *node,
								const char *keyword, const char *fmt,...) pg_attribute_printf(4, 5);
extern char *eb_schema_violation_quote(const char *s, int len);

extern void eb_schema_marks_set(EbMarks *marks, int i);
extern bool eb_schema_marks_get(const EbMarks *marks, int i);
extern void eb_schema_marks_merge(EbMarks *marks, const EbMarks *other);
extern void eb_schema_marks_init(EbMarks *marks, const EbJson *v);
extern void eb_schema_marks_free(EbMarks *marks);

/* A child of the instance; most are settled by their type alone. */
static inline bool
eb_schema_eval_part(EbEval *ev, int number, const EbJson *v, const char *key,
					int len, int index)
{
	const EbNode *node = &ev->schema->nodes[number];
	EbStep		step;

	if (node->plain & v->type)
		return true;
	if (v->type == EB_JSON_STRING && v->len >= node->min_bytes && v->len <= node->max_bytes)
		return true;
	if (!ev->collect)
		return (node->types & v->type) != 0 &&
			eb_schema_eval_node(ev, number, v, NULL);
	step.parent = ev->step;
	step.key = key;
	step.len = len;
	step.index = index;
	return eb_schema_eval_at(ev, number, v, &step);
}

static inline bool
eb_schema_eval_member(EbEval *ev, int node, const EbJson *v, const EbJson *key)
{
	return eb_schema_eval_part(ev, node, v, key->data, key->len, 0);
}

static inline bool
eb_schema_eval_item(EbEval *ev, int node, const EbJson *v, int index)
{
	return eb_schema_eval_part(ev, node, v, NULL, 0, index);
}

#endif							/* EB_SCHEMA_EVAL_H */
