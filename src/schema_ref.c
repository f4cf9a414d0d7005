/*
 * schema_ref.c
 *		$ref and $dynamicRef: by JSON pointer, anchor or identifier, within the
 *		document (and to the meta-schemas, which are built in).
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "schema_compile.h"
#include "schema_uri.h"

typedef struct EbTarget
{
	EbJson		location;
	int			resource;
	const char *path;
	EbAnchor   *anchor;			/* if found by one */
} EbTarget;

static void
unresolved(const EbNodeBuilder *b, const char *keyword, const EbJson *ref)
{
	eb_schema_compile_refuse(b->path, keyword, "refers to \"%.*s\", which does not exist",
							 ref->len, ref->data);
}

/* The resource with this URI; loads a meta-schema, refuses anything remote. */
static int
find_resource(EbNodeBuilder *b, const char *uri, const char *keyword,
			  const EbJson *ref)
{
	EbCompiler *c = b->compiler;
	const char *text;
	EbDraft		draft;
	ListCell   *lc;
	EbJson		root;
	Jsonb	   *document;

	foreach(lc, c->resources)
		if (strcmp(((EbResource *) lfirst(lc))->uri, uri) == 0)
			return foreach_current_index(lc);
	text = eb_schema_meta_text(uri, &draft);
	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("JSON schema has a remote reference: %s/%s is \"%.*s\"",
						b->path, keyword, ref->len, ref->data),
				 errhint("Put the schema it names into this document, under \"$defs\" or \"definitions\".")));
	document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	root = eb_schema_json_root(document);
	return eb_schema_index_document(c, &root, uri, draft);
}

/* One step of a JSON pointer, its ~ escapes still there */
static bool
pointer_step(EbJson *v, const char *token, int len)
{
	char	   *key = palloc(len + 1);
	int			n = 0;
	EbJson		child = {0};
	bool		found = false;

	for (int i = 0; i < len; i++)
	{
		if (token[i] == '~' && i + 1 < len && (token[i + 1] == '0' || token[i + 1] == '1'))
			key[n++] = token[++i] == '0' ? '~' : '/';
		else
			key[n++] = token[i];
	}
	key[n] = '\0';
	if (v->type == EB_JSON_OBJECT)
		found = eb_schema_json_get(v, key, n, &child, NULL);
	else if (v->type == EB_JSON_ARRAY && n > 0 && n < 9 &&
			 strspn(key, "0123456789") == n && (n == 1 || key[0] != '0'))
		found = eb_schema_json_element(v, atoi(key), &child);
	pfree(key);
	*v = child;
	return found;
}

/* Follows the pointer from the resource's root. */
static bool
follow_pointer(EbCompiler *c, EbTarget *target, const char *pointer, int len)
{
	int			pos = 0;

	while (pos < len)
	{
		const char *start = pointer + pos + 1;
		const char *slash = memchr(start, '/', len - pos - 1);
		int			n = slash ? slash - start : len - pos - 1;
		EbLocation *location;

		if (!pointer_step(&target->location, start, n))
			return false;
		pos += n + 1;
		if (target->location.type != EB_JSON_OBJECT)
			continue;
		location = eb_schema_index_location(c, &target->location);
		if (location)
			target->resource = location->resource;
	}
	return true;
}

static void
resolve(EbNodeBuilder *b, const char *keyword, const EbJson *ref, EbTarget *target)
{
	EbCompiler *c = b->compiler;
	EbResource *base = list_nth(c->resources, b->resource);
	EbResource *resource;
	char	   *fragment;
	char	   *uri;
	int			len = 0;

	if (ref->type != EB_JSON_STRING)
		eb_schema_compile_refuse(b->path, keyword, "must be a string");
	uri = eb_schema_uri_resolve(base->uri, ref->data, ref->len, &fragment);
	target->resource = find_resource(b, uri, keyword, ref);
	resource = list_nth(c->resources, target->resource);
	target->location = resource->root;
	target->path = resource->path;
	target->anchor = NULL;
	if (fragment)
		fragment = eb_schema_uri_unescape(fragment, strlen(fragment), &len);
	if (len == 0)
		return;
	if (fragment[0] == '/')
	{
		target->path = psprintf("%s%s", resource->path, fragment);
		if (!follow_pointer(c, target, fragment, len))
			unresolved(b, keyword, ref);
		return;
	}
	target->anchor = eb_schema_index_anchor(c, target->resource, fragment);
	if (target->anchor == NULL)
		unresolved(b, keyword, ref);
	target->location = target->anchor->location;
}

/* Where a reference leads, without compiling that. */
void
eb_schema_ref_resolve(EbNodeBuilder *b, const char *keyword, const EbJson *value,
					  EbJson *schema, int *resource)
{
	EbTarget	target;
	EbLocation *location;

	resolve(b, keyword, value, &target);
	*schema = target.location;
	*resource = target.resource;
	if (schema->type != EB_JSON_OBJECT)
		return;
	location = eb_schema_index_location(b->compiler, schema);
	if (location == NULL)
		eb_schema_index_subschema(b->compiler, schema, target.resource, target.path);
	else
		*resource = location->resource;
}

static int
compile_target(EbNodeBuilder *b, const EbTarget *target)
{
	return eb_schema_compile_node(b->compiler, &target->location,
								  target->resource, target->path);
}

void
eb_schema_ref_compile(EbNodeBuilder *b, const char *keyword, const EbJson *value)
{
	EbTarget	target;
	EbOp	   *op;

	resolve(b, keyword, value, &target);
	op = eb_schema_compile_op(b, EB_SECTION_ANY, EB_OP_REF);
	op->node = compile_target(b, &target);
}

/*
 * $dynamicRef: a plain reference, unless it led to a $dynamicAnchor; then
 * every resource with that anchor is a possible target.
 */
void
eb_schema_ref_compile_dynamic(EbNodeBuilder *b, const char *keyword,
							  const EbJson *value)
{
	EbTarget	target;
	EbDynamicRef *ref;
	EbOp	   *op;

	resolve(b, keyword, value, &target);
	if (target.anchor == NULL || !target.anchor->dynamic)
	{
		op = eb_schema_compile_op(b, EB_SECTION_ANY, EB_OP_REF);
		op->node = compile_target(b, &target);
		return;
	}
	op = eb_schema_compile_op(b, EB_SECTION_ANY, EB_OP_DYNAMIC_REF);
	ref = palloc0(sizeof(EbDynamicRef));
	ref->initial = compile_target(b, &target);
	ref->targets = palloc(sizeof(EbDynamicTarget) * list_length(b->compiler->anchors));

	/* compiling a target may load a meta-schema, which adds anchors: recount */
	for (int i = 0; i < list_length(b->compiler->anchors); i++)
	{
		EbAnchor   *anchor = list_nth(b->compiler->anchors, i);
		EbTarget	other = {anchor->location, anchor->resource, "", anchor};

		if (!anchor->dynamic || strcmp(anchor->name, target.anchor->name) != 0)
			continue;
		ref->targets = repalloc(ref->targets, sizeof(EbDynamicTarget) * (ref->n + 1));
		ref->targets[ref->n].resource = anchor->resource;
		ref->targets[ref->n].node = compile_target(b, &other);
		ref->n++;
	}
	op->u.dynamic = ref;
	b->compiler->schema->dynamic = true;
}
