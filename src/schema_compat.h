/*
 * Is a new version of a contract compatible with the one before?
 */
#ifndef EB_SCHEMA_COMPAT_H
#define EB_SCHEMA_COMPAT_H

#include "utils/jsonb.h"

/* ereports 22023 unless the mode is none, backward, forward or full. */
extern void eb_schema_compat_check_mode(const char *mode);

/*
 * ereports 23514 if newer is not compatible with older in the given mode, or
 * if that cannot be decided, naming the path in the schema and the reason.
 */
extern void eb_schema_compat_check(const char *name, int version, Jsonb *older,
								   Jsonb *newer, const char *mode);

#endif							/* EB_SCHEMA_COMPAT_H */
