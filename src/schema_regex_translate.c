/*
 * schema_regex_translate.c
 *		ECMA 262 regular expressions, as with the u flag, to PostgreSQL's
 *		advanced regular expressions of the same meaning, or a refusal.
 *
 * A recursive descent over the ECMA grammar.  Nothing is passed through
 * unread: every literal is written as a letter, digit or code point escape, every
 * class as explicit ranges, every group as non-capturing unless a back
 * reference needs it.  Only whether a pattern matches counts here, so lazy
 * quantifiers become greedy ones.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "schema_charset.h"
#include "schema_regex.h"

#define MAX_PATTERN			65536	/* bytes */
#define MAX_GROUPS			100
#define MAX_REPEAT			1000	/* in a quantifier */
#define ENGINE_REPEAT		255 /* what the engine takes at once */
#define NO_LIMIT			(-1)
#define END_OF_PATTERN		((pg_wchar) 0)

#define WORD				"[0-9A-Z_a-z]"

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
	pg_wchar   *chars;			/* ends with END_OF_PATTERN */
	int			pos;
	int			len;
	StringInfoData out;
	EbRegexScope *scope;
	int			scopes;
	EbRegexGroup groups[MAX_GROUPS + 1];	/* from 1 */
	int			ngroups;		/* in all, from the first pass */
	int			opened;
	int			captures;		/* written so far */
	const char *problem;
} EbRegexParser;

static bool parse_disjunction(EbRegexParser *p);

static bool
refuse(EbRegexParser *p, const char *problem)
{
	if (p->problem == NULL)
		p->problem = problem;
	return false;
}

static pg_wchar
peek(const EbRegexParser *p, int ahead)
{
	return p->pos + ahead < p->len ? p->chars[p->pos + ahead] : END_OF_PATTERN;
}

static bool
accept(EbRegexParser *p, const char *s)
{
	int			n = strlen(s);

	for (int i = 0; i < n; i++)
		if (peek(p, i) != (unsigned char) s[i])
			return false;
	p->pos += n;
	return true;
}

static bool
is_digit(pg_wchar c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(pg_wchar c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int
hex_value(pg_wchar c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
emit_char(EbRegexParser *p, pg_wchar c)
{
	return eb_schema_charset_emit_char(c, &p->out) ||
		refuse(p, "it needs characters beyond ASCII, and the database's encoding is not UTF8");
}

static bool
emit_set(EbRegexParser *p, EbCharSet *set)
{
	return eb_schema_charset_emit(set, &p->out) ||
		refuse(p, "it needs characters beyond ASCII, and the database's encoding is not UTF8");
}

/* exactly n hex digits */
static bool
parse_hex(EbRegexParser *p, int n, pg_wchar *c)
{
	*c = 0;
	for (int i = 0; i < n; i++)
	{
		int			digit = hex_value(peek(p, i));

		if (digit < 0)
			return refuse(p, "a \\x or \\u escape lacks hex digits");
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

	if (accept(p, "{"))
	{
		*c = 0;
		if (peek(p, 0) == '}')
			return refuse(p, "a \\u{} escape is empty");
		while (!accept(p, "}"))
		{
			int			digit = hex_value(peek(p, 0));

			if (digit < 0)
				return refuse(p, "a \\u{...} escape is not a hex number");
			p->pos++;
			*c = *c * 16 + digit;
			if (*c > EB_CODE_POINT_MAX)
				return refuse(p, "a \\u{...} escape is beyond U+10FFFF");
		}
	}
	else
	{
		if (!parse_hex(p, 4, c))
			return false;
		if (*c >= 0xD800 && *c <= 0xDBFF && accept(p, "\\u"))
		{
			if (!parse_hex(p, 4, &low))
				return false;
			if (low < 0xDC00 || low > 0xDFFF)
				return refuse(p, "it names half of a surrogate pair");
			*c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
		}
	}
	if (*c >= 0xD800 && *c <= 0xDFFF)
		return refuse(p, "it names half of a surrogate pair");
	return true;
}

/*
 * The part of an escape that stands for one character, after the backslash.
 * Punctuation may be escaped needlessly (annex B); letters and digits may not.
 */
static bool
parse_character_escape(EbRegexParser *p, pg_wchar *c)
{
	static const char letters[] = "tnvfr";
	static const char values[] = "\t\n\v\f\r";
	pg_wchar	e = peek(p, 0);
	const char *found;

	if (p->pos >= p->len)
		return refuse(p, "it ends with a backslash");
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
			if (!is_letter(peek(p, 0)))
				return refuse(p, "\\c must be followed by a letter");
			*c = peek(p, 0) % 32;
			p->pos++;
			return true;
		case '0':
			if (is_digit(peek(p, 0)))
				return refuse(p, "octal escapes are not allowed");
			*c = 0;
			return true;
		default:
			break;
	}
	if (is_letter(e) || is_digit(e) || e == '_' || e > 0x7F)
		return refuse(p, "it has an escape that ECMA 262 does not define");
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

	if (!accept(p, "{"))
		return refuse(p, "\\p must be followed by {...}");
	while (!accept(p, "}"))
	{
		pg_wchar	c = peek(p, 0);

		if (c < 0x20 || c > 0x7E || len == sizeof(name))
			return refuse(p, "the name in \\p{...} is malformed");
		name[len++] = c;
		p->pos++;
	}
	eb_schema_charset_init(&property);
	if (!eb_schema_charset_add_property(&property, name, len))
		return refuse(p, "\\p{...} is supported for general categories and for Alphabetic, Uppercase, Lowercase, White_Space, ASCII and Any only");
	if (negated)
		eb_schema_charset_negate(&property);
	eb_schema_charset_add_set(set, &property);
	return true;
}

/* A class escape, after the backslash; *found tells whether there is one. */
static bool
parse_class_escape(EbRegexParser *p, EbCharSet *set, bool *found)
{
	pg_wchar	e = peek(p, 0);

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
	if (!accept(p, "\\"))
	{
		*c = peek(p, 0);
		p->pos++;
		return true;
	}
	if (accept(p, "b"))
	{
		*c = '\b';
		return true;
	}
	if (!parse_class_escape(p, set, is_set))
		return false;
	return *is_set || parse_character_escape(p, c);
}

/* [...], after the bracket */
static bool
parse_class(EbRegexParser *p)
{
	bool		negated = accept(p, "^");
	EbCharSet	set;

	eb_schema_charset_init(&set);
	while (!accept(p, "]"))
	{
		pg_wchar	first;
		pg_wchar	last;
		bool		is_set;

		if (p->pos >= p->len)
			return refuse(p, "a bracket is not closed");
		if (!parse_class_atom(p, &set, &first, &is_set))
			return false;
		if (peek(p, 0) == '-' && peek(p, 1) != ']' && p->pos + 1 < p->len)
		{
			bool		last_is_set;

			p->pos++;
			if (!parse_class_atom(p, &set, &last, &last_is_set))
				return false;
			if (is_set || last_is_set)
				return refuse(p, "a range in brackets ends with a class");
			if (last < first)
				return refuse(p, "a range in brackets is out of order");
			eb_schema_charset_add(&set, first, last);
		}
		else if (!is_set)
			eb_schema_charset_add(&set, first, first);
	}
	if (negated)
		eb_schema_charset_negate(&set);
	return emit_set(p, &set);
}

/* <name>; the name or NULL */
static char *
parse_group_name(EbRegexParser *p)
{
	StringInfoData name;

	initStringInfo(&name);
	while (!accept(p, ">"))
	{
		pg_wchar	c = peek(p, 0);

		if (!is_letter(c) && !is_digit(c) && c != '_' && c != '$')
		{
			refuse(p, "a group's name has characters other than ASCII letters, digits, _ and $");
			return NULL;
		}
		appendStringInfoChar(&name, c);
		p->pos++;
	}
	if (name.len == 0 || is_digit(name.data[0]))
	{
		refuse(p, "a group's name is malformed");
		return NULL;
	}
	return name.data;
}

static int
find_group(EbRegexParser *p, const char *name)
{
	for (int i = 1; i <= p->ngroups; i++)
		if (p->groups[i].name && strcmp(p->groups[i].name, name) == 0)
			return i;
	return 0;
}

/*
 * \1 or \k<name>.  The engine and ECMA agree only where the group has surely
 * taken part in the match by then; anything else is refused.
 */
static bool
emit_backreference(EbRegexParser *p, int number)
{
	EbRegexGroup *group = &p->groups[number];
	bool		certain = false;

	if (number < 1 || number > p->ngroups)
		return refuse(p, "a back reference names no group");
	for (EbRegexScope *s = p->scope; s != NULL; s = s->parent)
	{
		if (s->lookaround)
			break;
		if (s->id == group->scope)
			certain = true;
	}
	if (!group->closed || group->quantified || !certain)
		return refuse(p, "a back reference to a group that need not have matched is not supported");
	appendStringInfo(&p->out, "(?:\\%d)", group->number);
	return true;
}

static bool
parse_atom_escape(EbRegexParser *p)
{
	EbCharSet	set;
	pg_wchar	c = peek(p, 0);
	bool		is_set;

	if (c >= '1' && c <= '9')
	{
		int			number = 0;

		for (; is_digit(peek(p, 0)) && number <= MAX_GROUPS; p->pos++)
			number = number * 10 + (peek(p, 0) - '0');
		return emit_backreference(p, number);
	}
	if (accept(p, "k"))
	{
		char	   *name = accept(p, "<") ? parse_group_name(p) : NULL;

		return emit_backreference(p, name ? find_group(p, name) : 0);
	}
	eb_schema_charset_init(&set);
	if (!parse_class_escape(p, &set, &is_set))
		return false;
	if (is_set)
		return emit_set(p, &set);
	if (!parse_character_escape(p, &c))
		return false;
	if (c == 0)
		return refuse(p, "U+0000 cannot occur in jsonb");
	return emit_char(p, c);
}

/* A capturing group, after its opening */
static bool
parse_capture(EbRegexParser *p)
{
	int			number = ++p->opened;
	EbRegexGroup *group = &p->groups[number];
	pg_wchar	next;

	group->scope = p->scope->id;
	if (group->referenced)
	{
		group->number = ++p->captures;
		appendStringInfoChar(&p->out, '(');
	}
	else
		appendStringInfoString(&p->out, "(?:");
	if (!parse_disjunction(p))
		return false;
	if (!accept(p, ")"))
		return refuse(p, "a group is not closed");
	appendStringInfoChar(&p->out, ')');
	next = peek(p, 0);
	group->quantified = next == '*' || next == '+' || next == '?' || next == '{';
	group->closed = true;
	return true;
}

/* A group of any kind, after the parenthesis; *assertion: takes no quantifier */
static bool
parse_group(EbRegexParser *p, bool *assertion)
{
	static const char *const lookarounds[] = {"?=", "?!", "?<=", "?<!"};

	*assertion = false;
	for (int i = 0; i < lengthof(lookarounds); i++)
	{
		EbRegexScope scope = {p->scope, -1, true};

		if (!accept(p, lookarounds[i]))
			continue;
		*assertion = true;
		appendStringInfo(&p->out, "(%s", lookarounds[i]);
		p->scope = &scope;
		if (!parse_disjunction(p))
			return false;
		p->scope = scope.parent;
		appendStringInfoChar(&p->out, ')');
		return accept(p, ")") || refuse(p, "a group is not closed");
	}
	if (accept(p, "?:"))
	{
		appendStringInfoString(&p->out, "(?:");
		if (!parse_disjunction(p))
			return false;
		appendStringInfoChar(&p->out, ')');
		return accept(p, ")") || refuse(p, "a group is not closed");
	}
	if (accept(p, "?<"))
	{
		if (parse_group_name(p) == NULL)
			return false;
		return parse_capture(p);
	}
	if (peek(p, 0) == '?')
		return refuse(p, "it has a group of an unknown kind");
	return parse_capture(p);
}

/* \\b and \\B: by ASCII word characters */
static void
emit_boundary(EbRegexParser *p, bool is_boundary)
{
	appendStringInfoString(&p->out, is_boundary ?
						   "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))" :
						   "(?:(?<=" WORD ")(?=" WORD ")|(?<!" WORD ")(?!" WORD "))");
}

/* One term without its quantifier */
static bool
parse_atom(EbRegexParser *p, bool *assertion)
{
	pg_wchar	c = peek(p, 0);
	EbCharSet	set;

	p->pos++;
	*assertion = false;
	switch (c)
	{
		case '^':
		case '$':
			*assertion = true;
			appendStringInfoChar(&p->out, c);
			return true;
		case '(':
			return parse_group(p, assertion);
		case '[':
			return parse_class(p);
		case '.':
			eb_schema_charset_init(&set);
			eb_schema_charset_add(&set, '\n', '\n');
			eb_schema_charset_add(&set, '\r', '\r');
			if (GetDatabaseEncoding() == PG_UTF8)
				eb_schema_charset_add(&set, 0x2028, 0x2029);
			eb_schema_charset_negate(&set);
			return emit_set(p, &set);
		case '\\':
			if (peek(p, 0) == 'b' || peek(p, 0) == 'B')
			{
				*assertion = true;
				emit_boundary(p, peek(p, 0) == 'b');
				p->pos++;
				return true;
			}
			return parse_atom_escape(p);
		case '*':
		case '+':
		case '?':
			return refuse(p, "a quantifier has nothing to repeat");
		case '{':
		case '}':
		case ']':
			return refuse(p, "a brace or bracket stands alone; ECMA 262 wants it escaped");
		default:
			return emit_char(p, c);
	}
}

static bool
parse_number(EbRegexParser *p, int *number)
{
	if (!is_digit(peek(p, 0)))
		return refuse(p, "a brace stands alone; ECMA 262 wants it escaped");
	for (*number = 0; is_digit(peek(p, 0)); p->pos++)
		*number = Min(*number * 10 + (int) (peek(p, 0) - '0'), MAX_REPEAT + 1);
	return true;
}

/* Is there a quantifier?  Reads it, and a laziness mark, which has no effect. */
static bool
parse_quantifier(EbRegexParser *p, int *min, int *max, bool *found)
{
	*found = true;
	*max = NO_LIMIT;
	if (accept(p, "*"))
		*min = 0;
	else if (accept(p, "+"))
		*min = 1;
	else if (accept(p, "?"))
	{
		*min = 0;
		*max = 1;
	}
	else if (accept(p, "{"))
	{
		if (!parse_number(p, min))
			return false;
		if (!accept(p, ","))
			*max = *min;
		else if (peek(p, 0) != '}' && !parse_number(p, max))
			return false;
		if (!accept(p, "}"))
			return refuse(p, "a brace stands alone; ECMA 262 wants it escaped");
		if (*max != NO_LIMIT && *max < *min)
			return refuse(p, "a quantifier's bounds are out of order");
		if (*min > MAX_REPEAT || *max > MAX_REPEAT)
			return refuse(p, "a quantifier repeats more than 1000 times");
	}
	else
		*found = false;
	if (*found)
		(void) accept(p, "?");
	return true;
}

/* Writes the atom with its bounds, in steps that the engine takes. */
static void
emit_repeated(EbRegexParser *p, int start, int min, int max)
{
	char	   *atom = pnstrdup(p->out.data + start, p->out.len - start);
	int			optional = max == NO_LIMIT ? 0 : max - min;

	p->out.len = start;
	p->out.data[start] = '\0';
	if (max == 0)
		appendStringInfoString(&p->out, "(?:)");
	for (; min > ENGINE_REPEAT; min -= ENGINE_REPEAT)
		appendStringInfo(&p->out, "%s{%d}", atom, ENGINE_REPEAT);
	if (max == NO_LIMIT && min <= 1)
		appendStringInfo(&p->out, "%s%s", atom, min == 0 ? "*" : "+");
	else if (max == NO_LIMIT)
		appendStringInfo(&p->out, "%s{%d,}", atom, min);
	else if (min + optional <= ENGINE_REPEAT)
	{
		if (max > 0)
			appendStringInfo(&p->out, "%s{%d,%d}", atom, min, min + optional);
	}
	else
	{
		if (min > 0)
			appendStringInfo(&p->out, "%s{%d}", atom, min);
		for (; optional > 0; optional -= Min(optional, ENGINE_REPEAT))
			appendStringInfo(&p->out, "%s{0,%d}", atom, Min(optional, ENGINE_REPEAT));
	}
	pfree(atom);
}

static bool
parse_term(EbRegexParser *p)
{
	int			start = p->out.len;
	int			captures = p->captures;
	bool		assertion;
	bool		found;
	int			min;
	int			max;

	if (!parse_atom(p, &assertion) || !parse_quantifier(p, &min, &max, &found))
		return false;
	if (!found)
		return true;
	if (assertion)
		return refuse(p, "a quantifier follows an assertion");
	if (p->captures != captures && Max(min, max) > ENGINE_REPEAT)
		return refuse(p, "a group with a back reference repeats more than 255 times");
	emit_repeated(p, start, min, max);
	return true;
}

static bool
parse_disjunction(EbRegexParser *p)
{
	EbRegexScope scope = {p->scope, 0, false};

	check_stack_depth();
	p->scope = &scope;
	scope.id = ++p->scopes;
	while (p->pos < p->len && peek(p, 0) != ')')
	{
		if (accept(p, "|"))
		{
			appendStringInfoChar(&p->out, '|');
			scope.id = ++p->scopes;
		}
		else if (!parse_term(p))
			return false;
	}
	p->scope = scope.parent;
	return true;
}

/* First pass: how many groups there are, their names, which are referred to. */
static bool
scan_groups(EbRegexParser *p)
{
	bool		in_class = false;

	for (p->pos = 0; p->pos < p->len; p->pos++)
	{
		pg_wchar	c = peek(p, 0);

		if (c == '\\')
			p->pos++;
		else if (in_class)
			in_class = c != ']';
		else if (c == '[')
			in_class = true;
		else if (c == '(')
		{
			bool		named = peek(p, 1) == '?' && peek(p, 2) == '<' &&
				peek(p, 3) != '=' && peek(p, 3) != '!';

			if (peek(p, 1) == '?' && !named)
				continue;
			if (p->ngroups == MAX_GROUPS)
				return refuse(p, "it has more than 100 groups");
			p->ngroups++;
			if (!named)
				continue;
			p->pos += 3;
			p->groups[p->ngroups].name = NULL;
			{
				char	   *name = parse_group_name(p);

				if (name == NULL)
					return false;
				if (find_group(p, name) != 0)
					return refuse(p, "two groups have one name");
				p->groups[p->ngroups].name = name;
			}
			p->pos--;
		}
	}
	return true;
}

static bool
scan_references(EbRegexParser *p)
{
	bool		in_class = false;

	for (p->pos = 0; p->pos < p->len; p->pos++)
	{
		pg_wchar	c = peek(p, 0);

		if (c != '\\')
		{
			in_class = in_class ? c != ']' : c == '[';
			continue;
		}
		p->pos++;
		c = peek(p, 0);
		if (in_class)
			continue;
		if (c >= '1' && c <= '9')
		{
			int			number = 0;

			for (int i = 0; is_digit(peek(p, i)) && number <= MAX_GROUPS; i++)
				number = number * 10 + (peek(p, i) - '0');
			if (number <= p->ngroups)
				p->groups[number].referenced = true;
		}
		else if (c == 'k' && peek(p, 1) == '<')
		{
			char	   *name;

			p->pos += 2;
			name = parse_group_name(p);
			if (name == NULL)
				return false;
			p->groups[find_group(p, name)].referenced = true;
			p->pos--;
		}
	}
	return true;
}

char *
eb_schema_regex_translate(const char *pattern, int len, const char **problem)
{
	EbRegexParser *p = palloc0(sizeof(EbRegexParser));

	*problem = NULL;
	if (len > MAX_PATTERN)
	{
		*problem = "it is longer than 65536 bytes";
		return NULL;
	}
	p->chars = palloc(sizeof(pg_wchar) * (len + 1));
	p->len = pg_mb2wchar_with_len(pattern, p->chars, len);
	initStringInfo(&p->out);
	if (scan_groups(p) && scan_references(p))
	{
		p->pos = 0;
		if (parse_disjunction(p) && p->pos < p->len)
			refuse(p, "a parenthesis is not opened");
	}
	*problem = p->problem;
	return p->problem ? NULL : p->out.data;
}
