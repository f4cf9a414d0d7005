/*
 * schema_link.c
 *		The last pass over a program: refuses references that go in circles,
 *		shortens references that only forward, and finds tagged unions.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "schema_compile.h"

typedef void (*EbTargetVisitor) (EbCompiler *c, int *node, void *arg);

static void
visit(EbCompiler *c, int *node, EbTargetVisitor visitor, void *arg)
{
	if (*node != EB_NODE_NONE)
		visitor(c, node, arg);
}

/* The nodes that an operation applies to the same instance. */
static void
visit_in_place(EbCompiler *c, EbOp *op, EbTargetVisitor visitor, void *arg)
{
	switch (op->code)
	{
		case EB_OP_REF:
		case EB_OP_NOT:
			visit(c, &op->node, visitor, arg);
			break;
		case EB_OP_DYNAMIC_REF:
			visit(c, &((EbDynamicRef *) op->u.dynamic)->initial, visitor, arg);
			for (int i = 0; i < op->u.dynamic->n; i++)
				visit(c, &op->u.dynamic->targets[i].node, visitor, arg);
			break;
		case EB_OP_ALL_OF:
		case EB_OP_ANY_OF:
		case EB_OP_ONE_OF:
			for (int i = 0; i < op->u.list->n; i++)
				visit(c, &op->u.list->nodes[i], visitor, arg);
			break;
		case EB_OP_IF:
			visit(c, &((EbCondition *) op->u.condition)->condition, visitor, arg);
			visit(c, &((EbCondition *) op->u.condition)->then_node, visitor, arg);
			visit(c, &((EbCondition *) op->u.condition)->else_node, visitor, arg);
			break;
		case EB_OP_DEPENDENT_SCHEMA:
			visit(c, &((EbDependency *) op->u.dependency)->node, visitor, arg);
			break;
		default:
			break;
	}
}

/* The nodes that an operation applies to parts of the instance. */
static void
visit_parts(EbCompiler *c, EbOp *op, EbTargetVisitor visitor, void *arg)
{
	EbPropertyTable *table;
	EbItems    *items;

	switch (op->code)
	{
		case EB_OP_PROPERTIES:
			table = (EbPropertyTable *) op->u.properties;
			for (int i = 0; i < table->n; i++)
				visit(c, &table->properties[i].node, visitor, arg);
			for (int i = 0; i < table->npatterns; i++)
				visit(c, &table->patterns[i].node, visitor, arg);
			visit(c, &table->additional, visitor, arg);
			visit(c, &table->names, visitor, arg);
			break;
		case EB_OP_ITEMS:
			items = (EbItems *) op->u.items;
			for (int i = 0; i < items->nprefix; i++)
				visit(c, &items->prefix[i], visitor, arg);
			visit(c, &items->rest, visitor, arg);
			break;
		case EB_OP_CONTAINS:
			visit(c, &((EbContains *) op->u.contains)->node, visitor, arg);
			break;
		case EB_OP_UNEVALUATED_ITEMS:
		case EB_OP_UNEVALUATED_PROPERTIES:
			visit(c, &op->node, visitor, arg);
			break;
		default:
			break;
	}
}

typedef enum EbColour
{
	EB_WHITE,
	EB_GREY,
	EB_BLACK
} EbColour;

static void
check_circle(EbCompiler *c, int *node, void *arg)
{
	char	   *colours = arg;
	EbNode	   *n = &c->schema->nodes[*node];

	if (colours[*node] == EB_BLACK)
		return;
	if (colours[*node] == EB_GREY)
		eb_schema_compile_refuse(n->path, NULL,
								 "refers to itself without descending into the payload, which would never end");
	check_stack_depth();
	colours[*node] = EB_GREY;
	for (int i = n->section[0]; i < n->section[EB_SECTIONS]; i++)
		visit_in_place(c, &c->schema->ops[i], check_circle, arg);
	colours[*node] = EB_BLACK;
}

/* A node that is nothing but a reference is replaced by what it refers to. */
static void
shorten(EbCompiler *c, int *node, void *arg)
{
	for (;;)
	{
		EbNode	   *n = &c->schema->nodes[*node];
		EbOp	   *op = &c->schema->ops[n->section[0]];

		if (n->types != EB_JSON_ANY || n->integer ||
			n->section[EB_SECTIONS] - n->section[0] != 1 || op->code != EB_OP_REF)
			return;
		*node = op->node;
	}
}

/* The operation of a node with this code, if there is just one. */
static const EbOp *
find_op(EbCompiler *c, int node, EbOpCode code)
{
	EbNode	   *n = &c->schema->nodes[node];

	for (int i = n->section[0]; i < n->section[EB_SECTIONS]; i++)
		if (c->schema->ops[i].code == code)
			return &c->schema->ops[i];
	return NULL;
}

/* The one string that a node accepts, if it is such a node. */
static const EbJson *
only_string(EbCompiler *c, int node)
{
	const EbOp *op;

	if (node == EB_NODE_NONE)
		return NULL;
	if ((op = find_op(c, node, EB_OP_CONST)) != NULL &&
		op->u.value->type == EB_JSON_STRING)
		return op->u.value;
	if ((op = find_op(c, node, EB_OP_ENUM)) != NULL && op->u.values->n == 1 &&
		op->u.values->values[0].type == EB_JSON_STRING)
		return &op->u.values->values[0];
	return NULL;
}

/* The string that a branch requires of the property, or NULL */
static const EbJson *
branch_tag(EbCompiler *c, int branch, const char *name, int len)
{
	const EbOp *op = find_op(c, branch, EB_OP_PROPERTIES);

	if (op == NULL)
		return NULL;
	for (int i = 0; i < op->u.properties->n; i++)
	{
		const EbProperty *p = &op->u.properties->properties[i];

		if (p->len == len && memcmp(p->name, name, len) == 0)
			return p->required ? only_string(c, p->node) : NULL;
	}
	return NULL;
}

/* Do all branches require different strings of this property? */
static bool
is_tag(EbCompiler *c, const EbNodeList *list, const EbProperty *p, EbJson *tags)
{
	for (int i = 0; i < list->n; i++)
	{
		const EbJson *tag = branch_tag(c, list->nodes[i], p->name, p->len);

		if (tag == NULL)
			return false;
		tags[i] = *tag;
		for (int j = 0; j < i; j++)
			if (eb_schema_json_equal(&tags[i], &tags[j]))
				return false;
	}
	return true;
}

static void
find_tag(EbCompiler *c, EbNodeList *list)
{
	const EbOp *op;
	EbJson	   *tags;

	if (list->n < 2 || (op = find_op(c, list->nodes[0], EB_OP_PROPERTIES)) == NULL)
		return;
	tags = palloc(sizeof(EbJson) * list->n);
	for (int i = 0; i < op->u.properties->n; i++)
	{
		const EbProperty *p = &op->u.properties->properties[i];

		if (!is_tag(c, list, p, tags))
			continue;
		list->tag = p->name;
		list->taglen = p->len;
		list->tags = tags;
		return;
	}
	pfree(tags);
}

/* Notes for which types of instance a node has nothing to do. */
static void
find_plain(EbNode *n)
{
	static const struct
	{
		uint8		type;
		int			section;
	}			typed[] = {
		{EB_JSON_NUMBER, EB_SECTION_NUMBER},
		{EB_JSON_STRING, EB_SECTION_STRING},
		{EB_JSON_ARRAY, EB_SECTION_ARRAY},
		{EB_JSON_OBJECT, EB_SECTION_OBJECT},
	};

	if (n->section[EB_SECTION_ANY] != n->section[EB_SECTIONS])
		return;
	n->plain = n->types;
	for (int i = 0; i < lengthof(typed); i++)
		if (n->section[typed[i].section] != n->section[typed[i].section + 1])
			n->plain &= ~typed[i].type;
	if (n->integer)
		n->plain &= ~EB_JSON_NUMBER;
}

/*
 * Between which lengths in bytes a string surely has an allowed length in code
 * points, where nothing else is asked of it.
 */
static void
find_byte_bounds(EbCompiler *c, EbNode *n)
{
	n->min_bytes = 1;
	n->max_bytes = 0;
	if ((n->types & EB_JSON_STRING) == 0 ||
		n->section[EB_SECTION_ANY] != n->section[EB_SECTIONS])
		return;
	for (int i = n->section[EB_SECTION_STRING]; i < n->section[EB_SECTION_STRING + 1]; i++)
		if (c->schema->ops[i].code != EB_OP_MIN_LENGTH &&
			c->schema->ops[i].code != EB_OP_MAX_LENGTH)
			return;
	n->min_bytes = 0;
	n->max_bytes = INT_MAX;
	for (int i = n->section[EB_SECTION_STRING]; i < n->section[EB_SECTION_STRING + 1]; i++)
	{
		EbOp	   *op = &c->schema->ops[i];

		if (op->code == EB_OP_MAX_LENGTH)
			n->max_bytes = Min(op->number, INT_MAX);
		else if (op->number <= 1)
			n->min_bytes = op->number;
		else
			n->min_bytes = Min(op->number, INT_MAX / MAX_MULTIBYTE_CHAR_LEN) * MAX_MULTIBYTE_CHAR_LEN;
	}
}

void
eb_schema_link(EbCompiler *c)
{
	EbSchema   *schema = c->schema;
	char	   *colours = palloc0(schema->nnodes);

	for (int i = 0; i < schema->nnodes; i++)
	{
		int			node = i;

		check_circle(c, &node, colours);
	}
	pfree(colours);

	/* with $dynamicRef, passing through a resource has a meaning of its own */
	if (!schema->dynamic)
	{
		for (int i = 0; i < c->nops; i++)
		{
			visit_in_place(c, &schema->ops[i], shorten, NULL);
			visit_parts(c, &schema->ops[i], shorten, NULL);
		}
		shorten(c, &schema->root, NULL);
	}
	for (int i = 0; i < schema->nnodes; i++)
	{
		find_plain(&schema->nodes[i]);
		find_byte_bounds(c, &schema->nodes[i]);
	}
	for (int i = 0; i < c->nops; i++)
		if (schema->ops[i].code == EB_OP_ANY_OF || schema->ops[i].code == EB_OP_ONE_OF)
			find_tag(c, (EbNodeList *) schema->ops[i].u.list);
}
