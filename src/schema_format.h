/*
 * The string formats that eventbus can assert.
 */
#ifndef EB_SCHEMA_FORMAT_H
#define EB_SCHEMA_FORMAT_H

typedef enum EbFormat
{
	EB_FORMAT_NONE,				/* an annotation, whatever the settings say */
	EB_FORMAT_DATE_TIME,
	EB_FORMAT_DATE,
	EB_FORMAT_TIME,
	EB_FORMAT_EMAIL,
	EB_FORMAT_URI,
	EB_FORMAT_UUID,
	EB_FORMAT_IPV4,
	EB_FORMAT_IPV6,
	EB_FORMAT_HOSTNAME
} EbFormat;

extern EbFormat eb_schema_format_lookup(const char *name, int len);
extern const char *eb_schema_format_name(EbFormat format);
extern bool eb_schema_format_valid(EbFormat format, const char *s, int len);

#endif							/* EB_SCHEMA_FORMAT_H */
