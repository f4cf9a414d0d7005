/*
 * Unicode properties as ranges of code points.
 */
#ifndef EB_SCHEMA_UNICODE_H
#define EB_SCHEMA_UNICODE_H

#define EB_UNICODE_PROPERTIES	40

typedef struct EbUnicodeProperty
{
	const char *name;
	const char *alias;
	bool		binary;			/* not a general category */
	int			n;
	const uint32 (*ranges)[2];
} EbUnicodeProperty;

extern const EbUnicodeProperty eb_unicode_properties[];

#endif							/* EB_SCHEMA_UNICODE_H */
