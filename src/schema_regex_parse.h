/*
 * Shared by the files of the pattern translator.
 */
#ifndef EB_SCHEMA_REGEX_PARSE_H
#define EB_SCHEMA_REGEX_PARSE_H

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "schema_charset.h"

#define EB_REGEX_GROUPS		100
#define EB_REGEX_END		((pg_wchar) 0)

/* An alternative that is being read; groups remember theirs. */
typedef struct EbRegexScope
{
	struct EbRegexScope *parent;
	int			id;
	bool		lookaround;
} EbRegexScope;

typedef struct EbRegexGroup
{
	char	   *name;			/* or NULL */
	bool		referenced;		/* found by the first pass */
	bool		closed;
	bool		quantified;
	int			scope;
	int			number;			/* in the output */
} EbRegexGroup;

typedef struct EbRegexParser
{
	pg_wchar   *chars;			/* ends with EB_REGEX_END */
	int			pos;
	int			len;
	StringInfoData out;
	EbRegexScope *scope;
	int			scopes;
	EbRegexGroup groups[EB_REGEX_GROUPS + 1];	/* from 1 */
	int			ngroups;		/* in all, from the first pass */
	int			opened;
	int			captures;		/* written so far */
	double		cost;			/* of what was parsed last */
	bool		nullable;		/* can that match the empty string? */
	bool		asserts;		/* is there an assertion in it? */
	double		idle;			/* copies of repetitions that may be no more than one */
	const char *problem;
} EbRegexParser;

/* schema_regex_escape.c */
extern bool eb_schema_regex_refuse(EbRegexParser *p, const char *problem);
extern bool eb_schema_regex_emit_char(EbRegexParser *p, pg_wchar c);
extern bool eb_schema_regex_emit_set(EbRegexParser *p, EbCharSet *set);
extern bool eb_schema_regex_character_escape(EbRegexParser *p, pg_wchar *c);
extern bool eb_schema_regex_class_escape(EbRegexParser *p, EbCharSet *set, bool *found);
extern bool eb_schema_regex_class(EbRegexParser *p);

/* schema_regex_group.c */
extern bool eb_schema_regex_scan_groups(EbRegexParser *p);
extern bool eb_schema_regex_scan_references(EbRegexParser *p);
extern char *eb_schema_regex_group_name(EbRegexParser *p);
extern int	eb_schema_regex_find_group(EbRegexParser *p, const char *name);
extern bool eb_schema_regex_backreference(EbRegexParser *p, int number);

static inline pg_wchar
eb_regex_peek(const EbRegexParser *p, int ahead)
{
	return p->pos + ahead < p->len ? p->chars[p->pos + ahead] : EB_REGEX_END;
}

static inline bool
eb_regex_accept(EbRegexParser *p, const char *s)
{
	int			n = strlen(s);

	for (int i = 0; i < n; i++)
		if (eb_regex_peek(p, i) != (unsigned char) s[i])
			return false;
	p->pos += n;
	return true;
}

static inline bool
eb_regex_is_digit(pg_wchar c)
{
	return c >= '0' && c <= '9';
}

static inline bool
eb_regex_is_letter(pg_wchar c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

#endif							/* EB_SCHEMA_REGEX_PARSE_H */
