/*
 * schema_index.c
 *		Finds the identifiers of a schema document before it is compiled: base
 *		URIs ($id), anchors, and where each subschema lies.
 *
 * Only places that the keyword table calls subschemas are visited, so an
 * "$id" inside enum or const identifies nothing.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "schema_compile.h"
#include "schema_uri.h"

static const struct
{
	const char *uri;
	EbDraft		draft;
}			dialects[] = {
	{"http://json-schema.org/draft-07/schema", EB_DRAFT_07},
	{"https://json-schema.org/draft-07/schema", EB_DRAFT_07},
	{"https://json-schema.org/draft/2020-12/schema", EB_DRAFT_2020_12},
	{"http://json-schema.org/draft/2020-12/schema", EB_DRAFT_2020_12},
};

static bool
dialect_lookup(const EbJson *name, EbDraft *draft)
{
	int			len = name->len;

	if (len > 0 && name->data[len - 1] == '#')
		len--;
	for (int i = 0; i < lengthof(dialects); i++)
	{
		if (strlen(dialects[i].uri) == len &&
			memcmp(dialects[i].uri, name->data, len) == 0)
		{
			*draft = dialects[i].draft;
			return true;
		}
	}
	return false;
}

/* The draft that a document's $schema names; 2020-12 without one. */
EbDraft
eb_schema_index_draft(const EbJson *schema, const char *path)
{
	EbJson		name;
	EbDraft		draft = EB_DRAFT_2020_12;

	if (schema->type != EB_JSON_OBJECT ||
		!eb_schema_json_get(schema, "$schema", strlen("$schema"), &name, NULL))
		return draft;
	if (name.type != EB_JSON_STRING)
		eb_schema_compile_refuse(path, "$schema", "must be a string");
	if (!dialect_lookup(&name, &draft))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("JSON schema dialect %.*s is not supported", name.len, name.data),
				 errhint("Use \"http://json-schema.org/draft-07/schema#\" or \"https://json-schema.org/draft/2020-12/schema\".")));
	return draft;
}

EbLocation *
eb_schema_index_location(EbCompiler *c, const EbJson *v)
{
	return hash_search(c->locations, &v->data, HASH_FIND, NULL);
}

EbAnchor *
eb_schema_index_anchor(EbCompiler *c, int resource, const char *name)
{
	ListCell   *lc;

	foreach(lc, c->anchors)
	{
		EbAnchor   *anchor = lfirst(lc);

		if (anchor->resource == resource && strcmp(anchor->name, name) == 0)
			return anchor;
	}
	return NULL;
}

static void
add_anchor(EbCompiler *c, int resource, const char *name, int len, bool dynamic,
		   const EbJson *location, const char *path, const char *keyword)
{
	EbAnchor   *anchor = palloc(sizeof(EbAnchor));

	anchor->resource = resource;
	anchor->name = pnstrdup(name, len);
	anchor->dynamic = dynamic;
	anchor->location = *location;
	if (len == 0 || *name == '/')
		eb_schema_compile_refuse(path, keyword, "is not an anchor name");
	if (eb_schema_index_anchor(c, resource, anchor->name) != NULL)
		eb_schema_compile_refuse(path, keyword, "repeats the anchor \"%s\"",
								 anchor->name);
	c->anchors = lappend(c->anchors, anchor);
}

static int
add_resource(EbCompiler *c, char *uri, const EbJson *root, const char *path,
			 EbDraft draft)
{
	EbResource *resource = palloc(sizeof(EbResource));
	ListCell   *lc;

	foreach(lc, c->resources)
		if (strcmp(((EbResource *) lfirst(lc))->uri, uri) == 0)
			eb_schema_compile_refuse(path, "$id", "repeats the identifier \"%s\"", uri);
	resource->uri = uri;
	resource->root = *root;
	resource->path = path;
	resource->draft = draft;
	c->resources = lappend(c->resources, resource);
	return list_length(c->resources) - 1;
}

/* A string keyword of the subschema, if it is there. */
static bool
get_string(const EbJson *v, const char *keyword, const char *path, EbJson *value)
{
	if (!eb_schema_json_get(v, keyword, strlen(keyword), value, NULL))
		return false;
	if (value->type != EB_JSON_STRING)
		eb_schema_compile_refuse(path, keyword, "must be a string");
	return true;
}

/* $id: a new resource, in draft-07 perhaps just an anchor; the resource now */
static int
index_id(EbCompiler *c, const EbJson *v, int resource, const char *path)
{
	EbResource *base = list_nth(c->resources, resource);
	EbJson		id;
	char	   *uri;
	char	   *fragment;

	if (!get_string(v, "$id", path, &id))
		return resource;
	uri = eb_schema_uri_resolve(base->uri, id.data, id.len, &fragment);
	if (fragment && *fragment && base->draft != EB_DRAFT_07)
		eb_schema_compile_refuse(path, "$id", "must not have a fragment");
	if (id.len > 0 && id.data[0] != '#')
	{
		if (v->data == base->root.data)
			base->uri = uri;
		else
			resource = add_resource(c, uri, v, path, base->draft);
	}
	if (fragment && *fragment)
		add_anchor(c, resource, fragment, strlen(fragment), false, v, path, "$id");
	return resource;
}

static void
index_identifiers(EbCompiler *c, const EbJson *v, int *resource, const char *path)
{
	EbDraft		draft = ((EbResource *) list_nth(c->resources, *resource))->draft;
	EbJson		value;

	if (draft == EB_DRAFT_07 &&
		eb_schema_json_get(v, "$ref", strlen("$ref"), &value, NULL) &&
		value.type == EB_JSON_STRING)
		return;					/* siblings of $ref mean nothing */
	*resource = index_id(c, v, *resource, path);
	if (get_string(v, "$schema", path, &value) &&
		eb_schema_index_draft(v, path) != draft)
		eb_schema_compile_refuse(path, "$schema", "must name the same draft as the document");
	if (draft == EB_DRAFT_07)
		return;
	if (get_string(v, "$anchor", path, &value))
		add_anchor(c, *resource, value.data, value.len, false, v, path, "$anchor");
	if (get_string(v, "$dynamicAnchor", path, &value))
		add_anchor(c, *resource, value.data, value.len, true, v, path, "$dynamicAnchor");
}

static void
index_children(EbCompiler *c, const EbKeyword *keyword, const EbJson *value,
			   int resource, const char *path)
{
	EbJsonWalk	w;
	EbJson		key;
	EbJson		child;

	if (keyword->holder == EB_HOLDS_NOTHING)
		return;
	if (value->type == EB_JSON_ARRAY &&
		(keyword->holder == EB_HOLDS_LIST || keyword->holder == EB_HOLDS_SCHEMA_OR_LIST))
	{
		eb_json_walk_init(&w, value);
		while (eb_json_walk_element(&w, &child))
		{
			char		number[16];
			int			len = snprintf(number, sizeof(number), "%d", w.i - 1);

			eb_schema_index_subschema(c, &child, resource,
									  eb_schema_compile_path(path, keyword->name, number, len));
		}
	}
	else if (value->type == EB_JSON_OBJECT && keyword->holder == EB_HOLDS_MAP)
	{
		eb_json_walk_init(&w, value);
		while (eb_json_walk_pair(&w, &key, &child))
			eb_schema_index_subschema(c, &child, resource,
									  eb_schema_compile_path(path, keyword->name, key.data, key.len));
	}
	else if (keyword->holder == EB_HOLDS_SCHEMA ||
			 keyword->holder == EB_HOLDS_SCHEMA_OR_LIST)
		eb_schema_index_subschema(c, value, resource,
								  eb_schema_compile_path(path, keyword->name, NULL, 0));
}

/* Visits a subschema and all below it. */
void
eb_schema_index_subschema(EbCompiler *c, const EbJson *v, int resource,
						  const char *path)
{
	EbLocation *location;
	EbDraft		draft;
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;
	bool		found;

	if (v->type != EB_JSON_OBJECT)
		return;
	check_stack_depth();
	location = hash_search(c->locations, &v->data, HASH_ENTER, &found);
	if (found)
		return;
	location->node = EB_NODE_NONE;
	location->resource = resource;
	location->path = path;
	index_identifiers(c, v, &resource, path);
	location = eb_schema_index_location(c, v);
	location->resource = resource;
	draft = ((EbResource *) list_nth(c->resources, resource))->draft;

	eb_json_walk_init(&w, v);
	while (eb_json_walk_pair(&w, &key, &value))
	{
		const EbKeyword *keyword = eb_schema_keyword_lookup(key.data, key.len);

		if (keyword != NULL && (keyword->drafts & draft) != 0)
			index_children(c, keyword, &value, resource, path);
	}
}

/* A document known under uri; its resource. */
int
eb_schema_index_document(EbCompiler *c, const EbJson *root, const char *uri,
						 EbDraft draft)
{
	int			resource = add_resource(c, pstrdup(uri), root,
										*uri ? psprintf("%s#", uri) : "", draft);

	eb_schema_index_subschema(c, root, resource,
							  ((EbResource *) list_nth(c->resources, resource))->path);
	return resource;
}
