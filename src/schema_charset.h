/*
 * Sets of code points, for character classes.
 */
#ifndef EB_SCHEMA_CHARSET_H
#define EB_SCHEMA_CHARSET_H

#include "lib/stringinfo.h"

#define EB_CODE_POINT_MAX	0x10FFFF

typedef struct EbCharRange
{
	uint32		first;
	uint32		last;
} EbCharRange;

typedef struct EbCharSet
{
	int			n;
	int			max;
	EbCharRange *ranges;
} EbCharSet;

extern void eb_schema_charset_init(EbCharSet *set);
extern void eb_schema_charset_add(EbCharSet *set, uint32 first, uint32 last);
extern void eb_schema_charset_add_set(EbCharSet *set, const EbCharSet *other);
extern bool eb_schema_charset_add_escape(EbCharSet *set, uint32 letter);
extern bool eb_schema_charset_add_property(EbCharSet *set, const char *name,
										   int len);
extern void eb_schema_charset_negate(EbCharSet *set);
extern bool eb_schema_charset_emit(EbCharSet *set, StringInfo out);
extern bool eb_schema_charset_emit_char(uint32 c, StringInfo out);

#endif							/* EB_SCHEMA_CHARSET_H */
