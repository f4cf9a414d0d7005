/*
 * ECMA 262 regular expressions on PostgreSQL's regex engine.
 */
#ifndef EB_SCHEMA_REGEX_H
#define EB_SCHEMA_REGEX_H

typedef struct EbRegex EbRegex;

/*
 * Translates an ECMA 262 pattern (as with the u flag) to an advanced regular
 * expression of the same meaning.  NULL if that cannot be done, with the
 * reason in *problem.
 */
extern char *eb_schema_regex_translate(const char *pattern, int len,
									   const char **problem);

/*
 * Compiles a translated pattern in the current memory context, which frees it
 * when reset; NULL and *problem if the engine refuses it.
 */
extern EbRegex *eb_schema_regex_compile(const char *pattern, int len,
										const char **problem);
extern bool eb_schema_regex_matches(const EbRegex *regex, const char *s, int len);
extern const char *eb_schema_regex_source(const EbRegex *regex);

#endif							/* EB_SCHEMA_REGEX_H */
