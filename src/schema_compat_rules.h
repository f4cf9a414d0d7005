/*
 * Shared by the files of the compatibility check.
 */
#ifndef EB_SCHEMA_COMPAT_RULES_H
#define EB_SCHEMA_COMPAT_RULES_H

#include "schema_compile.h"

/* A subschema of one of the two documents. */
typedef struct EbSide
{
	EbCompiler *document;
	EbJson		schema;
	int			resource;
} EbSide;

/* Does everything that "from" accepts satisfy "to"?  The first reason why not */
typedef struct EbCompat
{
	List	   *assumed;		/* pairs being compared, of EbPair */
	int			steps;
	bool		failed;
	bool		undecided;
	char	   *path;
	char	   *reason;
} EbCompat;

extern bool eb_schema_compat_accepts(EbCompat *c, const EbSide *from,
									 const EbSide *to, const char *path);
extern bool eb_schema_compat_fail(EbCompat *c, bool undecided, const char *path,
								  const char *keyword, const char *reason);
extern bool eb_schema_compat_get(const EbSide *side, const char *keyword,
								 EbJson *value);
extern EbSide eb_schema_compat_child(const EbSide *side, const EbJson *schema);
extern bool eb_schema_compat_trivial(const EbSide *side);
extern bool eb_schema_compat_same(const EbSide *from, const EbSide *to,
								  const char *keyword);

/* schema_compat_rules.c: each may assume that both sides are objects */
extern bool eb_schema_compat_values(EbCompat *c, const EbSide *from,
									const EbSide *to, const char *path);
extern bool eb_schema_compat_objects(EbCompat *c, const EbSide *from,
									 const EbSide *to, const char *path);
extern bool eb_schema_compat_arrays(EbCompat *c, const EbSide *from,
									const EbSide *to, const char *path);

#endif							/* EB_SCHEMA_COMPAT_RULES_H */
