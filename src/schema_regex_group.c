/*
 * schema_regex_group.c
 *		Groups and back references of ECMA 262 patterns.
 *
 * A first pass over the pattern counts the groups, learns their names and
 * which of them back references need, before anything is written.
 */
#include "postgres.h"

#include "schema_regex_parse.h"

/* <name>; the name or NULL */
char *
eb_schema_regex_group_name(EbRegexParser *p)
{
	StringInfoData name;

	initStringInfo(&name);
	while (!eb_regex_accept(p, ">"))
	{
		pg_wchar	c = eb_regex_peek(p, 0);

		if (!eb_regex_is_letter(c) && !eb_regex_is_digit(c) && c != '_' && c != '$')
		{
			eb_schema_regex_refuse(p, "a group's name has characters other than ASCII letters, digits, _ and $");
			return NULL;
		}
		appendStringInfoChar(&name, c);
		p->pos++;
	}
	if (name.len == 0 || eb_regex_is_digit(name.data[0]))
	{
		eb_schema_regex_refuse(p, "a group's name is malformed");
		return NULL;
	}
	return name.data;
}

int
eb_schema_regex_find_group(EbRegexParser *p, const char *name)
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
bool
eb_schema_regex_backreference(EbRegexParser *p, int number)
{
	EbRegexGroup *group;
	bool		certain = false;

	if (number < 1 || number > p->ngroups)
		return eb_schema_regex_refuse(p, "a back reference names no group");
	group = &p->groups[number];
	for (EbRegexScope *s = p->scope; s != NULL; s = s->parent)
	{
		if (s->lookaround)
			break;
		if (s->id == group->scope)
			certain = true;
	}
	if (!group->closed || group->quantified || !certain)
		return eb_schema_regex_refuse(p, "a back reference to a group that need not have matched is not supported");
	appendStringInfo(&p->out, "(?:\\%d)", group->number);
	return true;
}

/* First pass: how many groups there are, their names, which are referred to. */
bool
eb_schema_regex_scan_groups(EbRegexParser *p)
{
	bool		in_class = false;

	for (p->pos = 0; p->pos < p->len; p->pos++)
	{
		pg_wchar	c = eb_regex_peek(p, 0);

		if (c == '\\')
			p->pos++;
		else if (in_class)
			in_class = c != ']';
		else if (c == '[')
			in_class = true;
		else if (c == '(')
		{
			bool		named = eb_regex_peek(p, 1) == '?' && eb_regex_peek(p, 2) == '<' &&
				eb_regex_peek(p, 3) != '=' && eb_regex_peek(p, 3) != '!';

			if (eb_regex_peek(p, 1) == '?' && !named)
				continue;
			if (p->ngroups == EB_REGEX_GROUPS)
				return eb_schema_regex_refuse(p, "it has more than 100 groups");
			p->ngroups++;
			if (!named)
				continue;
			p->pos += 3;
			p->groups[p->ngroups].name = NULL;
			{
				char	   *name = eb_schema_regex_group_name(p);

				if (name == NULL)
					return false;
				if (eb_schema_regex_find_group(p, name) != 0)
					return eb_schema_regex_refuse(p, "two groups have one name");
				p->groups[p->ngroups].name = name;
			}
			p->pos--;
		}
	}
	return true;
}

bool
eb_schema_regex_scan_references(EbRegexParser *p)
{
	bool		in_class = false;

	for (p->pos = 0; p->pos < p->len; p->pos++)
	{
		pg_wchar	c = eb_regex_peek(p, 0);

		if (c != '\\')
		{
			in_class = in_class ? c != ']' : c == '[';
			continue;
		}
		p->pos++;
		c = eb_regex_peek(p, 0);
		if (in_class)
			continue;
		if (c >= '1' && c <= '9')
		{
			int			number = 0;

			for (int i = 0; eb_regex_is_digit(eb_regex_peek(p, i)) && number <= EB_REGEX_GROUPS; i++)
				number = number * 10 + (eb_regex_peek(p, i) - '0');
			if (number <= p->ngroups)
				p->groups[number].referenced = true;
		}
		else if (c == 'k' && eb_regex_peek(p, 1) == '<')
		{
			char	   *name;

			p->pos += 2;
			name = eb_schema_regex_group_name(p);
			if (name == NULL)
				return false;
			p->groups[eb_schema_regex_find_group(p, name)].referenced = true;
			p->pos--;
		}
	}
	return true;
}
