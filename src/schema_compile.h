/*
 * Shared by the files of the schema compiler.
 */
#ifndef EB_SCHEMA_COMPILE_H
#define EB_SCHEMA_COMPILE_H

#include "utils/hsearch.h"

#include "compat.h"
#include "schema_program.h"

typedef enum EbDraft
{
	EB_DRAFT_07 = 1,
	EB_DRAFT_2020_12 = 2
} EbDraft;

#define EB_DRAFT_ANY	(EB_DRAFT_07 | EB_DRAFT_2020_12)

/* A schema resource: a document, or a subschema with its own $id. */
typedef struct EbResource
{
	char	   *uri;			/* absolute if any base was, no fragment */
	EbJson		root;
	const char *path;
	EbDraft		draft;
} EbResource;

typedef struct EbAnchor
{
	int			resource;
	const char *name;
	bool		dynamic;
	EbJson		location;
} EbAnchor;

/* A subschema that is an object, by where it lies in the document. */
typedef struct EbLocation
{
	const char *data;			/* hash key: its container */
	int			resource;
	const char *path;
	int			node;			/* EB_NODE_NONE: not compiled yet */
} EbLocation;

typedef struct EbCompiler
{
	EbSchema   *schema;
	int			max_nodes;
	int			nops;
	int			max_ops;
	bool		announce;		/* warn of keywords of another draft */
	HTAB	   *locations;
	List	   *resources;		/* of EbResource */
	List	   *anchors;		/* of EbAnchor */
} EbCompiler;

/* The operations of one node while it is being compiled. */
typedef struct EbNodeBuilder
{
	EbCompiler *compiler;
	int			node;
	int			resource;
	EbDraft		draft;
	const char *path;
	const EbJson *object;
	List	   *sections[EB_SECTIONS];	/* of EbOp */
} EbNodeBuilder;

/* Which subschemas the value of a keyword holds. */
typedef enum EbHolder
{
	EB_HOLDS_NOTHING,
	EB_HOLDS_SCHEMA,
	EB_HOLDS_LIST,
	EB_HOLDS_SCHEMA_OR_LIST,
	EB_HOLDS_MAP
} EbHolder;

typedef void (*EbKeywordHandler) (EbNodeBuilder *b, const char *keyword,
								  const EbJson *value);

typedef struct EbKeyword
{
	const char *name;
	int			drafts;			/* where it means something */
	EbHolder	holder;
	EbKeywordHandler handler;	/* NULL: an annotation, or part of a group */
} EbKeyword;

/* schema_compile.c */
extern EbCompiler *eb_schema_compile_open(Jsonb *document, EbJson *root);
extern int	eb_schema_compile_node(EbCompiler *c, const EbJson *v, int resource,
								   const char *path);
extern int	eb_schema_compile_child(EbNodeBuilder *b, const EbJson *v,
									const char *keyword, const char *key, int len);
extern EbOp *eb_schema_compile_op(EbNodeBuilder *b, EbSection section,
								  EbOpCode code);
extern bool eb_schema_compile_get(const EbNodeBuilder *b, const char *keyword,
								  EbJson *value);
pg_noreturn extern void eb_schema_compile_refuse(const char *path, const char *keyword,
												 const char *fmt,...) pg_attribute_printf(3, 4);
extern char *eb_schema_compile_path(const char *path, const char *keyword,
									const char *key, int len);

/* schema_keyword.c, schema_keyword_group.c */
extern const EbKeyword *eb_schema_keyword_lookup(const char *name, int len);
extern void eb_schema_keyword_object(EbNodeBuilder *b);
extern void eb_schema_keyword_array(EbNodeBuilder *b);
extern int64 eb_schema_keyword_count(EbNodeBuilder *b, const char *keyword,
									 const EbJson *value);

/* schema_index.c */
extern int	eb_schema_index_document(EbCompiler *c, const EbJson *root,
									 const char *uri, EbDraft draft);
extern void eb_schema_index_subschema(EbCompiler *c, const EbJson *v,
									  int resource, const char *path);
extern EbLocation *eb_schema_index_location(EbCompiler *c, const EbJson *v);
extern EbDraft eb_schema_index_draft(const EbJson *schema, const char *path);
extern EbAnchor *eb_schema_index_anchor(EbCompiler *c, int resource,
										const char *name);

/* schema_ref.c */
extern void eb_schema_ref_compile(EbNodeBuilder *b, const char *keyword,
								  const EbJson *value);
extern void eb_schema_ref_resolve(EbNodeBuilder *b, const char *keyword,
								  const EbJson *value, EbJson *schema,
								  int *resource);
extern void eb_schema_ref_compile_dynamic(EbNodeBuilder *b, const char *keyword,
										  const EbJson *value);

/* schema_link.c */
extern void eb_schema_link(EbCompiler *c);

/* schema_meta.c: the meta-schemas, NULL for any other URI */
extern const char *eb_schema_meta_text(const char *uri, EbDraft *draft);

#endif							/* EB_SCHEMA_COMPILE_H */
