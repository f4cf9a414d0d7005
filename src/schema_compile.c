/*
 * schema_compile.c
 *		Turns a JSON Schema document into the flat program of schema_program.h.
 *
 * First the whole document is indexed (schema_index.c: base URIs, anchors), then
 * nodes are compiled from the root on, each subschema once however often it
 * is referred to, then links are checked and shortened (schema_link.c).  The
 * document is copied into the program's memory context, and constants, names
 * and numbers stay where they are in that copy.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "schema_compile.h"

void
eb_schema_compile_refuse(const char *path, const char *keyword,
						 const char *fmt,...)
{
	StringInfoData detail;
	va_list		args;

	initStringInfo(&detail);
	for (;;)
	{
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&detail, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&detail, needed);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 keyword ? errmsg("invalid JSON schema: %s/%s %s", path, keyword, detail.data) :
			 errmsg("invalid JSON schema: %s %s", *path ? path : "the schema", detail.data)));
}

/* path/keyword/key, with the key's ~ and / escaped; keys may be NULL */
char *
eb_schema_compile_path(const char *path, const char *keyword,
					   const char *key, int len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%s/%s", path, keyword);
	if (key != NULL)
	{
		appendStringInfoChar(&buf, '/');
		for (int i = 0; i < len; i++)
		{
			if (key[i] == '~')
				appendStringInfoString(&buf, "~0");
			else if (key[i] == '/')
				appendStringInfoString(&buf, "~1");
			else
				appendStringInfoChar(&buf, key[i]);
		}
	}
	return buf.data;
}

bool
eb_schema_compile_get(const EbNodeBuilder *b, const char *keyword, EbJson *value)
{
	return eb_schema_json_get(b->object, keyword, strlen(keyword), value, NULL);
}

EbOp *
eb_schema_compile_op(EbNodeBuilder *b, EbSection section, EbOpCode code)
{
	EbOp	   *op = palloc0(sizeof(EbOp));

	op->code = code;
	op->node = EB_NODE_NONE;
	b->sections[section] = lappend(b->sections[section], op);
	return op;
}

/* A new node, which accepts everything until told otherwise. */
static int
add_node(EbCompiler *c, int resource, const char *path)
{
	EbSchema   *schema = c->schema;
	EbNode	   *node;

	if (schema->nnodes == c->max_nodes)
	{
		c->max_nodes *= 2;
		schema->nodes = repalloc_huge(schema->nodes, sizeof(EbNode) * c->max_nodes);
	}
	node = &schema->nodes[schema->nnodes];
	memset(node, 0, sizeof(EbNode));
	node->types = EB_JSON_ANY;
	node->resource = resource;
	node->path = path;
	return schema->nnodes++;
}

/* Moves the collected operations into the program. */
static void
finish_node(EbNodeBuilder *b)
{
	EbCompiler *c = b->compiler;
	EbNode	   *node = &c->schema->nodes[b->node];

	for (int s = 0; s < EB_SECTIONS; s++)
	{
		ListCell   *lc;

		node->section[s] = c->nops;
		foreach(lc, b->sections[s])
		{
			if (c->nops == c->max_ops)
			{
				c->max_ops *= 2;
				c->schema->ops = repalloc_huge(c->schema->ops, sizeof(EbOp) * c->max_ops);
			}
			c->schema->ops[c->nops++] = *(EbOp *) lfirst(lc);
		}
		list_free_deep(b->sections[s]);
	}
	node->section[EB_SECTIONS] = c->nops;
	node->marks = node->section[EB_SECTION_LAST] < c->nops;
}

static int
compile_false(EbCompiler *c, int resource, const char *path)
{
	EbNodeBuilder b = {.compiler = c,.resource = resource,.path = path};

	b.node = add_node(c, resource, path);
	c->schema->nodes[b.node].types = 0;
	eb_schema_compile_op(&b, EB_SECTION_ANY, EB_OP_FALSE);
	finish_node(&b);
	return b.node;
}

static void
compile_keyword(EbNodeBuilder *b, const EbJson *key, const EbJson *value)
{
	const EbKeyword *keyword = eb_schema_keyword_lookup(key->data, key->len);

	if (keyword == NULL)
		return;
	if ((keyword->drafts & b->draft) == 0)
	{
		if (b->compiler->announce)
			ereport(WARNING,
					(errcode(ERRCODE_WARNING),
					 errmsg("JSON schema keyword %s/%s has no meaning in %s and is ignored",
							b->path, keyword->name,
							b->draft == EB_DRAFT_07 ? "draft-07" : "draft 2020-12"),
					 errhint("The draft is chosen by \"$schema\"; 2020-12 is the default.")));
		return;
	}
	if (keyword->handler)
		keyword->handler(b, keyword->name, value);
}

/* draft-07: the siblings of $ref mean nothing; those that would, are told of */
static void
announce_siblings(EbNodeBuilder *b)
{
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;

	if (!b->compiler->announce)
		return;
	eb_json_walk_init(&w, b->object);
	while (eb_json_walk_pair(&w, &key, &value))
	{
		const EbKeyword *keyword = eb_schema_keyword_lookup(key.data, key.len);

		if (keyword == NULL || (keyword->drafts & EB_DRAFT_07) == 0 || *keyword->name == '$' ||
			strcmp(keyword->name, "definitions") == 0)
			continue;
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("JSON schema keyword %s/%s stands beside \"$ref\", where draft-07 ignores it",
						b->path, keyword->name),
				 errhint("Declare draft 2020-12 with \"$schema\", or put the reference into \"allOf\".")));
	}
}

static void
compile_object(EbCompiler *c, EbLocation *location, const EbJson *v)
{
	EbNodeBuilder b = {.compiler = c,.object = v};
	EbResource *resource = list_nth(c->resources, location->resource);
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	b.node = location->node;
	b.resource = location->resource;
	b.draft = resource->draft;
	b.path = location->path;
	if (b.draft == EB_DRAFT_07 && eb_schema_compile_get(&b, "$ref", &value))
	{
		announce_siblings(&b);
		eb_schema_ref_compile(&b, "$ref", &value);
		finish_node(&b);
		return;
	}
	eb_json_walk_init(&w, v);
	while (eb_json_walk_pair(&w, &key, &value))
		compile_keyword(&b, &key, &value);
	eb_schema_keyword_object(&b);
	eb_schema_keyword_array(&b);
	finish_node(&b);
}

/* The node of a subschema, compiled now if it was not before. */
int
eb_schema_compile_node(EbCompiler *c, const EbJson *v, int resource,
					   const char *path)
{
	EbLocation *location;

	if (v->type == EB_JSON_BOOLEAN)
		return v->boolean ? 0 : compile_false(c, resource, path);
	if (v->type != EB_JSON_OBJECT)
		eb_schema_compile_refuse(path, NULL, "must be an object or a boolean");
	location = eb_schema_index_location(c, v);
	if (location == NULL)
	{
		eb_schema_index_subschema(c, v, resource, path);
		location = eb_schema_index_location(c, v);
	}
	if (location->node == EB_NODE_NONE)
	{
		location->node = add_node(c, location->resource, location->path);
		compile_object(c, location, v);
	}
	return location->node;
}

/* A subschema under a keyword of the node, perhaps under a key of that. */
int
eb_schema_compile_child(EbNodeBuilder *b, const EbJson *v, const char *keyword,
						const char *key, int len)
{
	return eb_schema_compile_node(b->compiler, v, b->resource,
								  eb_schema_compile_path(b->path, keyword, key, len));
}

static void
init_compiler(EbCompiler *c, EbSchema *schema)
{
	HASHCTL		ctl = {0};

	memset(c, 0, sizeof(*c));
	c->schema = schema;
	c->max_nodes = c->max_ops = 32;
	schema->nodes = palloc(sizeof(EbNode) * c->max_nodes);
	schema->ops = palloc(sizeof(EbOp) * c->max_ops);
	ctl.keysize = sizeof(char *);
	ctl.entrysize = sizeof(EbLocation);
	ctl.hcxt = schema->context;
	c->locations = hash_create("eventbus schema locations", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	add_node(c, 0, "");			/* node 0: true */
}

/*
 * Indexes a document without compiling it, in the current memory context, for
 * those who want to follow its references.  The document must outlive it.
 */
EbCompiler *
eb_schema_compile_open(Jsonb *document, EbJson *root)
{
	EbCompiler *c = palloc(sizeof(EbCompiler));
	EbSchema   *schema = palloc0(sizeof(EbSchema));

	schema->context = CurrentMemoryContext;
	init_compiler(c, schema);
	*root = eb_schema_json_root(document);
	(void) eb_schema_index_document(c, root, "", eb_schema_index_draft(root, ""));
	return c;
}

EbSchema *
eb_schema_compile_document(Jsonb *document, MemoryContext parent, bool announce)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "eventbus schema",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EbSchema   *schema = palloc0(sizeof(EbSchema));
	Jsonb	   *copy = palloc_extended(VARSIZE(document), MCXT_ALLOC_HUGE);
	EbCompiler	c;
	EbJson		root;
	EbDraft		draft;

	memcpy(copy, document, VARSIZE(document));
	schema->context = context;
	init_compiler(&c, schema);
	c.announce = announce;
	root = eb_schema_json_root(copy);
	if (root.type != EB_JSON_OBJECT && root.type != EB_JSON_BOOLEAN)
		eb_schema_compile_refuse("", NULL, "must be an object or a boolean");
	draft = eb_schema_index_draft(&root, "");
	(void) eb_schema_index_document(&c, &root, "", draft);
	schema->root = eb_schema_compile_node(&c, &root, 0, "");
	eb_schema_link(&c);
	hash_destroy(c.locations);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, parent);
	return schema;
}

void
eb_schema_free(EbSchema *schema)
{
	MemoryContextDelete(schema->context);
}
