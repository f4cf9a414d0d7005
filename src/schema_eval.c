/*
 * schema_eval.c
 *		Runs a compiled schema over a Jsonb value in place.
 *
 * There are two modes.  The usual one answers yes or no, stops at the first
 * violation and allocates nothing but bitmaps for unevaluated*.  Only when that
 * says no does a second run collect every violation with its paths.  Stack depth
 * is checked at every level, interrupts are served every few hundred nodes, and
 * the number of steps is bounded, so no schema can hold a backend for ever.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "compat.h"
#include "guc.h"
#include "schema_eval.h"

/* nodes between two looks at interrupts */
#define INTERRUPT_STEPS		512

/* an enum of so many strings is looked through, a longer one is searched */
#define SCAN_VALUES			16

/* steps allowed: a floor, plus so many for each byte of the document */
#define STEPS_MIN			INT64CONST(20000000)
#define STEPS_PER_BYTE		16

static void
serve_interrupts(EbEval *ev)
{
	CHECK_FOR_INTERRUPTS();
	ev->until_interrupt = INTERRUPT_STEPS;
	ev->steps_left -= INTERRUPT_STEPS;
	if (ev->steps_left < 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("checking the payload against its schema takes too many steps"),
				 errhint("Simplify the schema: alternatives that repeat the same reference multiply at every level of nesting.")));
}

/* code points, not bytes */
static int64
string_length(const EbJson *v)
{
	int64		n = 0;

	if (GetDatabaseEncoding() != PG_UTF8)
		return pg_mbstrlen_with_len(v->data, v->len);
	for (int i = 0; i < v->len; i++)
		n += (v->data[i] & 0xC0) != 0x80;
	return n;
}

static bool
eval_number(EbEval *ev, const EbNode *node, const EbOp *op, const EbNumber *number)
{
	static const char *const keywords[] = {
		"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"
	};
	static const char *const relations[] = {
		"at least", "at most", "greater than", "less than", "a multiple of"
	};
	bool		ok;

	if (op->code == EB_OP_MULTIPLE_OF)
		ok = eb_schema_number_multiple_of(number, op->u.limit);
	else
	{
		int			cmp = eb_schema_number_cmp(number, op->u.limit);

		ok = op->code == EB_OP_MINIMUM ? cmp >= 0 :
			op->code == EB_OP_MAXIMUM ? cmp <= 0 :
			op->code == EB_OP_EXCLUSIVE_MINIMUM ? cmp > 0 : cmp < 0;
	}
	if (!ok && ev->collect)
	{
		EbJson		limit = {.type = EB_JSON_NUMBER,.data = (const char *) op->u.limit->numeric};

		eb_schema_violation(ev, node, keywords[op->code - EB_OP_MINIMUM],
							"must be %s %s", relations[op->code - EB_OP_MINIMUM],
							eb_schema_json_text(&limit));
	}
	return ok;
}

static bool
eval_string(EbEval *ev, const EbNode *node, const EbOp *op, const EbJson *v)
{
	switch (op->code)
	{
		case EB_OP_MIN_LENGTH:
			if (v->len >= op->number && string_length(v) >= op->number)
				return true;
			return eb_schema_violation(ev, node, "minLength",
									   "must have at least " INT64_FORMAT " characters",
									   op->number);
		case EB_OP_MAX_LENGTH:
			if (v->len <= op->number || string_length(v) <= op->number)
				return true;
			return eb_schema_violation(ev, node, "maxLength",
									   "must have at most " INT64_FORMAT " characters",
									   op->number);
		case EB_OP_PATTERN:
			if (eb_schema_regex_matches(op->u.regex, v->data, v->len))
				return true;
			return eb_schema_violation(ev, node, "pattern",
									   "must match the pattern %s",
									   eb_schema_regex_source(op->u.regex));
		case EB_OP_FORMAT:
			if (!eb_assert_formats ||
				eb_schema_format_valid((EbFormat) op->number, v->data, v->len))
				return true;
			return eb_schema_violation(ev, node, "format", "must be a valid %s",
									   op->u.text);
		default:
			elog(ERROR, "unexpected schema operation %d", op->code);
			return false;
	}
}

static bool
eval_enum(EbEval *ev, const EbNode *node, const EbOp *op, const EbJson *v)
{
	const EbEnum *list = op->u.values;
	int			low = 0;
	int			high = list->n;

	if (!list->strings)
	{
		for (int i = 0; i < list->n; i++)
			if (eb_schema_json_equal(&list->values[i], v))
				return true;
	}
	else if (v->type == EB_JSON_STRING && list->n <= SCAN_VALUES)
	{
		for (int i = 0; i < list->n; i++)
			if (list->values[i].len == v->len &&
				eb_json_bytes_equal(list->values[i].data, v->data, v->len))
				return true;
	}
	else if (v->type == EB_JSON_STRING)
	{
		while (low < high)
		{
			int			mid = (low + high) / 2;
			int			cmp = eb_json_key_cmp(list->values[mid].data,
											  list->values[mid].len,
											  v->data, v->len);

			if (cmp == 0)
				return true;
			if (cmp < 0)
				low = mid + 1;
			else
				high = mid;
		}
	}
	return eb_schema_violation(ev, node, "enum",
							   "must be one of the %d allowed values", list->n);
}

/* The outermost resource in scope that has the anchor decides. */
static bool
eval_dynamic_ref(EbEval *ev, const EbOp *op, const EbJson *v, EbMarks *marks)
{
	const EbDynamicRef *ref = op->u.dynamic;
	int			target = ref->initial;

	for (const EbScope *s = ev->scope; s != NULL; s = s->parent)
		for (int i = 0; i < ref->n; i++)
			if (ref->targets[i].resource == s->resource)
				target = ref->targets[i].node;
	return eb_schema_eval_node(ev, target, v, marks);
}

static bool
eval_condition(EbEval *ev, const EbOp *op, const EbJson *v, EbMarks *marks)
{
	const EbCondition *c = op->u.condition;
	EbMarks		local;
	bool		holds;
	int			next;

	if (marks)
		eb_schema_marks_init(&local, v);
	holds = eb_schema_eval_silently(ev, c->condition, v, marks ? &local : NULL);
	if (marks)
	{
		if (holds)
			eb_schema_marks_merge(marks, &local);
		eb_schema_marks_free(&local);
	}
	next = holds ? c->then_node : c->else_node;
	return next == EB_NODE_NONE || eb_schema_eval_node(ev, next, v, marks);
}

static bool
eval_any(EbEval *ev, const EbNode *node, const EbOp *op, const EbJson *v,
		 EbMarks *marks)
{
	bool		ok = true;

	switch (op->code)
	{
		case EB_OP_CONST:
			if (eb_schema_json_equal(op->u.value, v))
				return true;
			if (!ev->collect)
				return false;
			return eb_schema_violation(ev, node, "const", "must be %s",
									   eb_schema_json_text(op->u.value));
		case EB_OP_ENUM:
			return eval_enum(ev, node, op, v);
		case EB_OP_REF:
			return eb_schema_eval_node(ev, op->node, v, marks);
		case EB_OP_DYNAMIC_REF:
			return eval_dynamic_ref(ev, op, v, marks);
		case EB_OP_ALL_OF:
			for (int i = 0; i < op->u.list->n && (ok || ev->collect); i++)
				ok &= eb_schema_eval_node(ev, op->u.list->nodes[i], v, marks);
			return ok;
		case EB_OP_ANY_OF:
		case EB_OP_ONE_OF:
			return eb_schema_union_eval(ev, node, op, v, marks);
		case EB_OP_NOT:
			if (!eb_schema_eval_silently(ev, op->node, v, NULL))
				return true;
			return eb_schema_violation(ev, node, "not",
									   "must not match the schema under \"not\"");
		case EB_OP_IF:
			return eval_condition(ev, op, v, marks);
		case EB_OP_FALSE:
			return eb_schema_violation(ev, node, EB_FALSE_SCHEMA, "is not allowed");
		case EB_OP_UNEVALUATED_ITEMS:
			return v->type != EB_JSON_ARRAY ||
				eb_schema_array_eval(ev, node, op, v, marks);
		case EB_OP_UNEVALUATED_PROPERTIES:
			return v->type != EB_JSON_OBJECT ||
				eb_schema_object_eval(ev, node, op, v, marks);
		default:
			elog(ERROR, "unexpected schema operation %d", op->code);
			return false;
	}
}

/* type: the names of the accepted ones */
static bool
type_violation(EbEval *ev, const EbNode *node)
{
	StringInfoData names;

	if (!ev->collect || node->types == 0)
		return false;			/* EB_OP_FALSE reports */
	initStringInfo(&names);
	for (int bit = EB_JSON_NULL; bit <= EB_JSON_OBJECT; bit <<= 1)
	{
		if ((node->types & bit) == 0)
			continue;
		appendStringInfo(&names, "%s%s", names.len ? " or " : "",
						 eb_schema_json_type_name(bit == EB_JSON_NUMBER && node->integer ?
												  EB_JSON_INTEGER : bit));
	}
	return eb_schema_violation(ev, node, "type", "must be %s", names.data);
}

/* The operations for the instance's own type. */
static inline bool
eval_typed(EbEval *ev, const EbNode *node, const EbJson *v, EbMarks *marks)
{
	const EbOp *ops = ev->schema->ops;
	const EbOp *op;
	EbNumber	number;
	bool		ok = true;

	switch (v->type)
	{
		case EB_JSON_OBJECT:
			for (op = ops + node->section[EB_SECTION_OBJECT];
				 op < ops + node->section[EB_SECTION_OBJECT + 1] && (ok || ev->collect); op++)
				ok &= eb_schema_object_eval(ev, node, op, v, marks);
			break;
		case EB_JSON_STRING:
			for (op = ops + node->section[EB_SECTION_STRING];
				 op < ops + node->section[EB_SECTION_STRING + 1] && (ok || ev->collect); op++)
				ok &= eval_string(ev, node, op, v);
			break;
		case EB_JSON_NUMBER:
			op = ops + node->section[EB_SECTION_NUMBER];
			if (op < ops + node->section[EB_SECTION_NUMBER + 1])
				eb_schema_number_read((Numeric) v->data, &number);
			for (; op < ops + node->section[EB_SECTION_NUMBER + 1] && (ok || ev->collect); op++)
				ok &= eval_number(ev, node, op, &number);
			break;
		case EB_JSON_ARRAY:
			for (op = ops + node->section[EB_SECTION_ARRAY];
				 op < ops + node->section[EB_SECTION_ARRAY + 1] && (ok || ev->collect); op++)
				ok &= eb_schema_array_eval(ev, node, op, v, marks);
			break;
		default:
			break;
	}
	return ok;
}

static bool
eval_ops(EbEval *ev, const EbNode *node, const EbJson *v, EbMarks *marks)
{
	const EbOp *op = ev->schema->ops + node->section[EB_SECTION_ANY];
	const EbOp *end = ev->schema->ops + node->section[EB_SECTIONS];
	bool		ok = eval_typed(ev, node, v, marks);

	for (; op < end && (ok || ev->collect); op++)
		ok &= eval_any(ev, node, op, v, marks);
	return ok;
}

/* A node with unevaluated*: sees its own marks only, and passes them on. */
static bool
eval_marked(EbEval *ev, const EbNode *node, const EbJson *v, EbMarks *marks)
{
	EbMarks		local;
	bool		ok;

	eb_schema_marks_init(&local, v);
	ok = eval_ops(ev, node, v, &local);
	if (ok && marks)
		eb_schema_marks_merge(marks, &local);
	eb_schema_marks_free(&local);
	return ok;
}

/*
 * Checks v against a node; marks (if not NULL) learns which parts of v were
 * evaluated, and is worthless when the answer is no.
 */
bool
eb_schema_eval_node(EbEval *ev, int number, const EbJson *v, EbMarks *marks)
{
	const EbNode *node = &ev->schema->nodes[number];
	EbScope		scope;
	bool		ok;

	if (--ev->until_interrupt < 0)
		serve_interrupts(ev);
	if (node->plain & v->type)
		return true;
	if ((v->type & node->types) == 0 ||
		(node->integer && v->type == EB_JSON_NUMBER &&
		 !eb_schema_number_is_integer((Numeric) v->data)))
	{
		type_violation(ev, node);
		if (!ev->collect)
			return false;
		ok = false;
	}
	else
		ok = true;
	if ((v->type & (EB_JSON_ARRAY | EB_JSON_OBJECT)) == 0 &&
		node->section[EB_SECTION_ANY] == node->section[EB_SECTIONS])
		return eval_typed(ev, node, v, marks) && ok;	/* goes no deeper */

	check_stack_depth();
	scope.parent = ev->scope;
	scope.resource = node->resource;
	if (ev->schema->dynamic)
		ev->scope = &scope;
	if (node->marks)
		ok &= eval_marked(ev, node, v, marks);
	else
		ok &= eval_ops(ev, node, v, marks);
	ev->scope = scope.parent;
	return ok;
}

/* Yes or no, whatever the mode. */
bool
eb_schema_eval_silently(EbEval *ev, int node, const EbJson *v, EbMarks *marks)
{
	bool		collect = ev->collect;
	bool		ok;

	ev->collect = false;
	ok = eb_schema_eval_node(ev, node, v, marks);
	ev->collect = collect;
	return ok;
}

bool
eb_schema_eval_at(EbEval *ev, int node, const EbJson *v, const EbStep *step)
{
	bool		ok;

	ev->step = step;
	ok = eb_schema_eval_node(ev, node, v, NULL);
	ev->step = step->parent;
	return ok;
}

static void
eval_init(EbEval *ev, const EbSchema *schema, Jsonb *document)
{
	memset(ev, 0, sizeof(*ev));
	ev->schema = schema;
	ev->steps_left = STEPS_MIN + (int64) VARSIZE(document) * STEPS_PER_BYTE;
	ev->until_interrupt = INTERRUPT_STEPS;
}

bool
eb_schema_eval_valid(const EbSchema *schema, Jsonb *document)
{
	EbJson		root = eb_schema_json_root(document);
	EbEval		ev;

	eval_init(&ev, schema, document);
	return eb_schema_eval_node(&ev, schema->root, &root, NULL);
}

List *
eb_schema_eval_violations(const EbSchema *schema, Jsonb *document, int limit)
{
	EbJson		root = eb_schema_json_root(document);
	EbEval		ev;

	eval_init(&ev, schema, document);
	if (eb_schema_eval_node(&ev, schema->root, &root, NULL))
		return NIL;
	eval_init(&ev, schema, document);
	ev.collect = true;
	ev.limit = limit;
	(void) eb_schema_eval_node(&ev, schema->root, &root, NULL);
	return ev.violations;
}
