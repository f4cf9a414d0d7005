/*
 * schema_charset.c
 *		Sets of code points: what ECMA 262 means by a character class, written
 *		as a bracket expression of PostgreSQL's regular expressions.
 *
 * Every class is expanded to code point ranges, so that neither locale nor
 * collation has a say; what is emitted is plain ASCII.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "schema_charset.h"
#include "schema_unicode.h"

static const EbCharRange digit_ranges[] = {{'0', '9'}};

static const EbCharRange word_ranges[] = {
	{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}
};

/* WhiteSpace and LineTerminator of ECMA 262 */
static const EbCharRange space_ranges[] = {
	{0x09, 0x0D}, {0x20, 0x20}, {0xA0, 0xA0}, {0x1680, 0x1680},
	{0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
	{0x3000, 0x3000}, {0xFEFF, 0xFEFF}
};

void
eb_schema_charset_init(EbCharSet *set)
{
	set->n = 0;
	set->max = 16;
	set->ranges = palloc(sizeof(EbCharRange) * set->max);
}

void
eb_schema_charset_add(EbCharSet *set, uint32 first, uint32 last)
{
	if (set->n == set->max)
	{
		set->max *= 2;
		set->ranges = repalloc(set->ranges, sizeof(EbCharRange) * set->max);
	}
	set->ranges[set->n].first = first;
	set->ranges[set->n].last = last;
	set->n++;
}

static void
add_ranges(EbCharSet *set, const EbCharRange *ranges, int n)
{
	for (int i = 0; i < n; i++)
		eb_schema_charset_add(set, ranges[i].first, ranges[i].last);
}

void
eb_schema_charset_add_set(EbCharSet *set, const EbCharSet *other)
{
	add_ranges(set, other->ranges, other->n);
}

/* \d \D \w \W \s \S; false for any other letter */
bool
eb_schema_charset_add_escape(EbCharSet *set, uint32 letter)
{
	EbCharSet	escape;

	eb_schema_charset_init(&escape);
	switch (letter)
	{
		case 'd':
		case 'D':
			add_ranges(&escape, digit_ranges, lengthof(digit_ranges));
			break;
		case 'w':
		case 'W':
			add_ranges(&escape, word_ranges, lengthof(word_ranges));
			break;
		case 's':
		case 'S':
			add_ranges(&escape, space_ranges, lengthof(space_ranges));
			break;
		default:
			return false;
	}
	if (letter < 'a')
		eb_schema_charset_negate(&escape);
	eb_schema_charset_add_set(set, &escape);
	return true;
}

/*
 * The value of \p{...}: a general category by short or long name, perhaps
 * after "gc=" or "General_Category=", or one of a few binary properties.
 */
bool
eb_schema_charset_add_property(EbCharSet *set, const char *name, int len)
{
	static const char *const prefixes[] = {"gc=", "General_Category="};
	bool		prefixed = false;

	for (int i = 0; i < lengthof(prefixes); i++)
	{
		int			plen = strlen(prefixes[i]);

		if (len > plen && strncmp(name, prefixes[i], plen) == 0)
		{
			name += plen;
			len -= plen;
			prefixed = true;
			break;
		}
	}
	for (int i = 0; i < EB_UNICODE_PROPERTIES; i++)
	{
		const EbUnicodeProperty *p = &eb_unicode_properties[i];

		if ((strlen(p->name) == len && memcmp(p->name, name, len) == 0) ||
			(strlen(p->alias) == len && memcmp(p->alias, name, len) == 0))
		{
			if (prefixed && p->binary)
				return false;
			for (int j = 0; j < p->n; j++)
				eb_schema_charset_add(set, p->ranges[j][0], p->ranges[j][1]);
			return true;
		}
	}
	return false;
}

static int
cmp_ranges(const void *a, const void *b)
{
	uint32		fa = ((const EbCharRange *) a)->first;
	uint32		fb = ((const EbCharRange *) b)->first;

	return fa < fb ? -1 : fa > fb;
}

/* sorted, disjoint, not even touching */
static void
normalize(EbCharSet *set)
{
	int			n = 0;

	qsort(set->ranges, set->n, sizeof(EbCharRange), cmp_ranges);
	for (int i = 0; i < set->n; i++)
	{
		if (n > 0 && set->ranges[i].first <= set->ranges[n - 1].last + 1)
			set->ranges[n - 1].last = Max(set->ranges[n - 1].last,
										  set->ranges[i].last);
		else
			set->ranges[n++] = set->ranges[i];
	}
	set->n = n;
}

/* All other code points; U+0000 is never in a text value and counts as in. */
void
eb_schema_charset_negate(EbCharSet *set)
{
	EbCharSet	result;
	uint32		next = 1;

	eb_schema_charset_init(&result);
	normalize(set);
	for (int i = 0; i < set->n; i++)
	{
		if (set->ranges[i].first > next)
			eb_schema_charset_add(&result, next, set->ranges[i].first - 1);
		next = Max(next, set->ranges[i].last + 1);
	}
	if (next <= EB_CODE_POINT_MAX)
		eb_schema_charset_add(&result, next, EB_CODE_POINT_MAX);
	*set = result;
}

/* One literal character; false if this database's encoding cannot say it. */
bool
eb_schema_charset_emit_char(uint32 c, StringInfo out)
{
	if (c > 0x7F && GetDatabaseEncoding() != PG_UTF8)
		return false;
	if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
		(c >= 'a' && c <= 'z') || c == '_')
		appendStringInfoChar(out, c);
	else if (c <= 0xFFFF)
		appendStringInfo(out, "\\u%04X", c);
	else
		appendStringInfo(out, "\\U%08X", c);
	return true;
}

/* Writes the set as one atom; false if the encoding cannot say it. */
bool
eb_schema_charset_emit(EbCharSet *set, StringInfo out)
{
	bool		negated;

	normalize(set);
	if (set->n > 0 && set->ranges[0].first == 0)
	{
		set->ranges[0].first = 1;
		if (set->ranges[0].last == 0)
		{
			set->n--;
			memmove(set->ranges, set->ranges + 1, sizeof(EbCharRange) * set->n);
		}
	}
	negated = set->n > 0 && set->ranges[set->n - 1].last == EB_CODE_POINT_MAX;
	if (negated)
		eb_schema_charset_negate(set);
	if (set->n == 0)
	{
		appendStringInfoString(out, negated ? "." : "(?!)");
		return true;
	}
	appendStringInfoString(out, negated ? "[^" : "[");
	for (int i = 0; i < set->n; i++)
	{
		if (!eb_schema_charset_emit_char(set->ranges[i].first, out))
			return false;
		if (set->ranges[i].last == set->ranges[i].first)
			continue;
		appendStringInfoChar(out, '-');
		if (!eb_schema_charset_emit_char(set->ranges[i].last, out))
			return false;
	}
	appendStringInfoChar(out, ']');
	return true;
}
