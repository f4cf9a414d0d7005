/*
 * schema_regex_escape.c
 *		Escapes and character classes of ECMA 262 patterns.
 */
#include "postgres.h"

#include "schema_regex_parse.h"

bool
eb_schema_regex_refuse(EbRegexParser *p, const char *problem)
{
	if (p->problem == NULL)
		p->problem = problem;
	return false;
}

bool
eb_schema_regex_emit_char(EbRegexParser *p, pg_wchar c)
{
	return eb_schema_charset_emit_char(c, &p->out) ||
		eb_schema_regex_refuse(p, "it needs characters beyond ASCII, and the database's encoding is not UTF8");
}

bool
eb_schema_regex_emit_set(EbRegexParser *p, EbCharSet *set)
{
	return eb_schema_charset_emit(set, &p->out) ||
		eb_schema_regex_refuse(p, "it needs characters beyond ASCII, and the database's encoding is not UTF8");
}

static int
hex_value(pg_wchar c)
{
	if (eb_regex_is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* exactly n hex digits */
static bool
parse_hex(EbRegexParser *p, int n, pg_wchar *c)
{
	*c = 0;
	for (int i = 0; i < n; i++)
	{
		int			digit = hex_value(eb_regex_peek(p, i));

		if (digit < 0)
			return eb_schema_regex_refuse(p, "a \\x or \\u escape lacks hex digits");
		*c = *c * 16 + digit;
	}
	p->pos += n;
	return true;
}

/* after \u: XXXX, a surrogate pair, or {X...} */
static bool
parse_unicode(EbRegexParser *p, pg_wchar *c)
{
	pg_wchar	low;

	if (eb_regex_accept(p, "{"))
	{
		*c = 0;
		if (eb_regex_peek(p, 0) == '}')
			return eb_schema_regex_refuse(p, "a \\u{} escape is empty");
		while (!eb_regex_accept(p, "}"))
		{
			int			digit = hex_value(eb_regex_peek(p, 0));

			if (digit < 0)
				return eb_schema_regex_refuse(p, "a \\u{...} escape is not a hex number");
			p->pos++;
			*c = *c * 16 + digit;
			if (*c > EB_CODE_POINT_MAX)
				return eb_schema_regex_refuse(p, "a \\u{...} escape is beyond U+10FFFF");
		}
	}
	else
	{
		if (!parse_hex(p, 4, c))
			return false;
		if (*c >= 0xD800 && *c <= 0xDBFF && eb_regex_accept(p, "\\u"))
		{
			if (!parse_hex(p, 4, &low))
				return false;
			if (low < 0xDC00 || low > 0xDFFF)
				return eb_schema_regex_refuse(p, "it names half of a surrogate pair");
			*c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
		}
	}
	if (*c >= 0xD800 && *c <= 0xDFFF)
		return eb_schema_regex_refuse(p, "it names half of a surrogate pair");
	return true;
}

/*
 * The part of an escape that stands for one character, after the backslash.
 * Punctuation may be escaped needlessly (annex B); letters and digits may not.
 */
bool
eb_schema_regex_character_escape(EbRegexParser *p, pg_wchar *c)
{
	static const char letters[] = "tnvfr";
	static const char values[] = "\t\n\v\f\r";
	pg_wchar	e = eb_regex_peek(p, 0);
	const char *found;

	if (p->pos >= p->len)
		return eb_schema_regex_refuse(p, "it ends with a backslash");
	p->pos++;
	if (e < 0x80 && e != 0 && (found = strchr(letters, (int) e)) != NULL)
	{
		*c = values[found - letters];
		return true;
	}
	switch (e)
	{
		case 'x':
			return parse_hex(p, 2, c);
		case 'u':
			return parse_unicode(p, c);
		case 'c':
			if (!eb_regex_is_letter(eb_regex_peek(p, 0)))
				return eb_schema_regex_refuse(p, "\\c must be followed by a letter");
			*c = eb_regex_peek(p, 0) % 32;
			p->pos++;
			return true;
		case '0':
			if (eb_regex_is_digit(eb_regex_peek(p, 0)))
				return eb_schema_regex_refuse(p, "octal escapes are not allowed");
			*c = 0;
			return true;
		default:
			break;
	}
	if (eb_regex_is_letter(e) || eb_regex_is_digit(e) || e == '_' || e > 0x7F)
		return eb_schema_regex_refuse(p, "it has an escape that ECMA 262 does not define");
	*c = e;
	return true;
}

/* \p{...} or \P{...}, after the letter */
static bool
parse_property(EbRegexParser *p, bool negated, EbCharSet *set)
{
	char		name[64];
	int			len = 0;
	EbCharSet	property;

	if (!eb_regex_accept(p, "{"))
		return eb_schema_regex_refuse(p, "\\p must be followed by {...}");
	while (!eb_regex_accept(p, "}"))
	{
		pg_wchar	c = eb_regex_peek(p, 0);

		if (c < 0x20 || c > 0x7E || len == sizeof(name))
			return eb_schema_regex_refuse(p, "the name in \\p{...} is malformed");
		name[len++] = c;
		p->pos++;
	}
	eb_schema_charset_init(&property);
	if (!eb_schema_charset_add_property(&property, name, len))
		return eb_schema_regex_refuse(p, "\\p{...} is supported for general categories and for Alphabetic, Uppercase, Lowercase, White_Space, ASCII and Any only");
	if (negated)
		eb_schema_charset_negate(&property);
	eb_schema_charset_add_set(set, &property);
	return true;
}

/* A class escape, after the backslash; *found tells whether there is one. */
bool
eb_schema_regex_class_escape(EbRegexParser *p, EbCharSet *set, bool *found)
{
	pg_wchar	e = eb_regex_peek(p, 0);

	*found = true;
	if (e == 'p' || e == 'P')
	{
		p->pos++;
		return parse_property(p, e == 'P', set);
	}
	if (eb_schema_charset_add_escape(set, e))
	{
		p->pos++;
		return true;
	}
	*found = false;
	return true;
}

/* One member of a class: a character, or a class escape (*is_set) */
static bool
parse_class_atom(EbRegexParser *p, EbCharSet *set, pg_wchar *c, bool *is_set)
{
	*is_set = false;
	if (!eb_regex_accept(p, "\\"))
	{
		*c = eb_regex_peek(p, 0);
		p->pos++;
		return true;
	}
	if (eb_regex_accept(p, "b"))
	{
		*c = '\b';
		return true;
	}
	if (!eb_schema_regex_class_escape(p, set, is_set))
		return false;
	return *is_set || eb_schema_regex_character_escape(p, c);
}

/* [...], after the bracket */
bool
eb_schema_regex_class(EbRegexParser *p)
{
	bool		negated = eb_regex_accept(p, "^");
	EbCharSet	set;

	eb_schema_charset_init(&set);
	while (!eb_regex_accept(p, "]"))
	{
		pg_wchar	first;
		pg_wchar	last;
		bool		is_set;

		if (p->pos >= p->len)
			return eb_schema_regex_refuse(p, "a bracket is not closed");
		if (!parse_class_atom(p, &set, &first, &is_set))
			return false;
		if (eb_regex_peek(p, 0) == '-' && eb_regex_peek(p, 1) != ']' && p->pos + 1 < p->len)
		{
			bool		last_is_set;

			p->pos++;
			if (!parse_class_atom(p, &set, &last, &last_is_set))
				return false;
			if (is_set || last_is_set)
				return eb_schema_regex_refuse(p, "a range in brackets ends with a class");
			if (last < first)
				return eb_schema_regex_refuse(p, "a range in brackets is out of order");
			eb_schema_charset_add(&set, first, last);
		}
		else if (!is_set)
			eb_schema_charset_add(&set, first, first);
	}
	if (negated)
		eb_schema_charset_negate(&set);
	return eb_schema_regex_emit_set(p, &set);
}
