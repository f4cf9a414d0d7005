/*
 * URI references and JSON pointers.
 */
#ifndef EB_SCHEMA_URI_H
#define EB_SCHEMA_URI_H

extern char *eb_schema_uri_resolve(const char *base, const char *reference,
								   int len, char **fragment);
extern char *eb_schema_uri_unescape(const char *s, int len, int *outlen);

#endif							/* EB_SCHEMA_URI_H */
