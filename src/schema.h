/*
 * JSON Schema over Jsonb: compile once, check many times.
 *
 * No SPI, no catalogs: usable wherever memory contexts are.
 */
#ifndef EB_SCHEMA_H
#define EB_SCHEMA_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef struct EbSchema EbSchema;

/* One violation; every string is palloc'd in the caller's context. */
typedef struct EbViolation
{
	char	   *instance_path;	/* JSON pointer into the payload */
	char	   *schema_path;	/* JSON pointer into the schema */
	const char *keyword;
	char	   *message;
} EbViolation;

/*
 * Compiles a schema into a memory context of its own below parent; ereports
 * 22023 for what is malformed and 0A000 for what is not supported.  With
 * announce, keywords that mean nothing in the schema's draft raise a WARNING.
 */
extern EbSchema *eb_schema_compile_document(Jsonb *document, MemoryContext parent,
											bool announce);
extern void eb_schema_free(EbSchema *schema);

/* Does the document satisfy the schema?  Allocates next to nothing. */
extern bool eb_schema_eval_valid(const EbSchema *schema, Jsonb *document);

/* The violations, at most limit of them: a list of EbViolation. */
extern List *eb_schema_eval_violations(const EbSchema *schema, Jsonb *document,
									   int limit);

#endif							/* EB_SCHEMA_H */
