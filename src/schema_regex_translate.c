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

#include "miscadmin.h"

#include "schema_regex.h"
#include "schema_regex_parse.h"

#define MAX_PATTERN			65536	/* bytes */
#define MAX_REPEAT			1000	/* in a quantifier */
#define ENGINE_REPEAT		255 /* what the engine takes at once */
#define NO_LIMIT			(-1)

/*
 * The engine unrolls repetitions, and takes time quadratic in their number
 * where the body can be empty.  This much is compiled within some 100 ms.
 */
#define MAX_COST			50000

/*
 * A repetition whose body may be nothing but assertions is a loop that the engine
 * unties, in time exponential in how many of them follow each other: 12 take some
 * 30 ms, 20 take minutes.
 */
#define MAX_IDLE			12

#define WORD				"[0-9A-Z_a-z]"

static bool parse_disjunction(EbRegexParser *p);

static bool
parse_atom_escape(EbRegexParser *p)
{
	EbCharSet	set;
	pg_wchar	c = eb_regex_peek(p, 0);
	bool		is_set;

	if (c >= '1' && c <= '9')
	{
		int			number = 0;

		for (; eb_regex_is_digit(eb_regex_peek(p, 0)) && number <= EB_REGEX_GROUPS; p->pos++)
			number = number * 10 + (eb_regex_peek(p, 0) - '0');
		return eb_schema_regex_backreference(p, number);
	}
	if (eb_regex_accept(p, "k"))
	{
		char	   *name = eb_regex_accept(p, "<") ? eb_schema_regex_group_name(p) : NULL;

		return eb_schema_regex_backreference(p, name ? eb_schema_regex_find_group(p, name) : 0);
	}
	eb_schema_charset_init(&set);
	if (!eb_schema_regex_class_escape(p, &set, &is_set))
		return false;
	if (is_set)
		return eb_schema_regex_emit_set(p, &set);
	if (!eb_schema_regex_character_escape(p, &c))
		return false;
	if (c == 0)
		return eb_schema_regex_refuse(p, "U+0000 cannot occur in jsonb");
	return eb_schema_regex_emit_char(p, c);
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
	if (!eb_regex_accept(p, ")"))
		return eb_schema_regex_refuse(p, "a group is not closed");
	appendStringInfoChar(&p->out, ')');
	next = eb_regex_peek(p, 0);
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

		if (!eb_regex_accept(p, lookarounds[i]))
			continue;
		*assertion = true;
		appendStringInfo(&p->out, "(%s", lookarounds[i]);
		p->scope = &scope;
		if (!parse_disjunction(p))
			return false;
		p->scope = scope.parent;
		appendStringInfoChar(&p->out, ')');
		return eb_regex_accept(p, ")") || eb_schema_regex_refuse(p, "a group is not closed");
	}
	if (eb_regex_accept(p, "?:"))
	{
		appendStringInfoString(&p->out, "(?:");
		if (!parse_disjunction(p))
			return false;
		appendStringInfoChar(&p->out, ')');
		return eb_regex_accept(p, ")") || eb_schema_regex_refuse(p, "a group is not closed");
	}
	if (eb_regex_accept(p, "?<"))
	{
		if (eb_schema_regex_group_name(p) == NULL)
			return false;
		return parse_capture(p);
	}
	if (eb_regex_peek(p, 0) == '?')
		return eb_schema_regex_refuse(p, "it has a group of an unknown kind");
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
	pg_wchar	c = eb_regex_peek(p, 0);
	EbCharSet	set;

	p->pos++;
	p->cost = 1;
	p->idle = 0;
	p->nullable = p->asserts = *assertion = false;
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
			return eb_schema_regex_class(p);
		case '.':
			eb_schema_charset_init(&set);
			eb_schema_charset_add(&set, '\n', '\n');
			eb_schema_charset_add(&set, '\r', '\r');
			if (GetDatabaseEncoding() == PG_UTF8)
				eb_schema_charset_add(&set, 0x2028, 0x2029);
			eb_schema_charset_negate(&set);
			return eb_schema_regex_emit_set(p, &set);
		case '\\':
			if (eb_regex_peek(p, 0) == 'b' || eb_regex_peek(p, 0) == 'B')
			{
				*assertion = true;
				emit_boundary(p, eb_regex_peek(p, 0) == 'b');
				p->pos++;
				return true;
			}
			return parse_atom_escape(p);
		case '*':
		case '+':
		case '?':
			return eb_schema_regex_refuse(p, "a quantifier has nothing to repeat");
		case '{':
		case '}':
		case ']':
			return eb_schema_regex_refuse(p, "a brace or bracket stands alone; ECMA 262 wants it escaped");
		default:
			return eb_schema_regex_emit_char(p, c);
	}
}

static bool
parse_number(EbRegexParser *p, int *number)
{
	if (!eb_regex_is_digit(eb_regex_peek(p, 0)))
		return eb_schema_regex_refuse(p, "a brace stands alone; ECMA 262 wants it escaped");
	for (*number = 0; eb_regex_is_digit(eb_regex_peek(p, 0)); p->pos++)
		*number = Min(*number * 10 + (int) (eb_regex_peek(p, 0) - '0'), MAX_REPEAT + 1);
	return true;
}

/* Is there a quantifier?  Reads it, and a laziness mark, which has no effect. */
static bool
parse_quantifier(EbRegexParser *p, int *min, int *max, bool *found)
{
	*found = true;
	*max = NO_LIMIT;
	if (eb_regex_accept(p, "*"))
		*min = 0;
	else if (eb_regex_accept(p, "+"))
		*min = 1;
	else if (eb_regex_accept(p, "?"))
	{
		*min = 0;
		*max = 1;
	}
	else if (eb_regex_accept(p, "{"))
	{
		if (!parse_number(p, min))
			return false;
		if (!eb_regex_accept(p, ","))
			*max = *min;
		else if (eb_regex_peek(p, 0) != '}' && !parse_number(p, max))
			return false;
		if (!eb_regex_accept(p, "}"))
			return eb_schema_regex_refuse(p, "a brace stands alone; ECMA 262 wants it escaped");
		if (*max != NO_LIMIT && *max < *min)
			return eb_schema_regex_refuse(p, "a quantifier's bounds are out of order");
		if (*min > MAX_REPEAT || *max > MAX_REPEAT)
			return eb_schema_regex_refuse(p, "a quantifier repeats more than 1000 times");
	}
	else
		*found = false;
	if (*found)
		(void) eb_regex_accept(p, "?");
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
	p->nullable |= assertion;
	p->asserts |= assertion;
	if (!found)
		return true;
	if (assertion)
		return eb_schema_regex_refuse(p, "a quantifier follows an assertion");
	if (p->captures != captures && Max(min, max) > ENGINE_REPEAT)
		return eb_schema_regex_refuse(p, "a group with a back reference repeats more than 255 times");
	emit_repeated(p, start, min, max);
	p->cost *= (p->nullable ? (double) Max(Max(min, max), 1) : 1) * Max(Max(min, max), 1);
	if (p->nullable && p->asserts)
		p->idle = Max(p->idle, 1);
	p->idle *= (max == NO_LIMIT) ? Max(min, 2) : max;
	p->nullable |= min == 0;
	return p->cost <= MAX_COST ||
		eb_schema_regex_refuse(p, "its nested repetitions multiply to more than PostgreSQL's regex engine can take");
}

static bool
parse_disjunction(EbRegexParser *p)
{
	EbRegexScope scope = {p->scope, 0, false};
	double		cost = 0;
	double		idle = 0;
	bool		asserts = false;
	bool		nullable = false;	/* some alternative */
	bool		empty = true;	/* this alternative, so far */

	check_stack_depth();
	p->scope = &scope;
	scope.id = ++p->scopes;
	while (p->pos < p->len && eb_regex_peek(p, 0) != ')')
	{
		if (eb_regex_accept(p, "|"))
		{
			appendStringInfoChar(&p->out, '|');
			scope.id = ++p->scopes;
			nullable |= empty;
			empty = true;
			continue;
		}
		if (!parse_term(p))
			return false;
		cost += p->cost;
		idle += p->idle;
		asserts |= p->asserts;
		empty &= p->nullable;
	}
	p->scope = scope.parent;
	p->cost = cost;
	p->idle = idle;
	p->asserts = asserts;
	p->nullable = nullable || empty;
	if (idle > MAX_IDLE)
		return eb_schema_regex_refuse(p, "it repeats too often what may be no more than an assertion");
	return cost <= MAX_COST || eb_schema_regex_refuse(p, "it is too long");
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
	if (eb_schema_regex_scan_groups(p) && eb_schema_regex_scan_references(p))
	{
		p->pos = 0;
		if (parse_disjunction(p) && p->pos < p->len)
			eb_schema_regex_refuse(p, "a parenthesis is not opened");
	}
	*problem = p->problem;
	return p->problem ? NULL : p->out.data;
}
