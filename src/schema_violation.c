/*
 * schema_violation.c
 *		Violations and the bookkeeping of what was evaluated.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "schema_eval.h"

/* names and values longer than this are cut in messages */
#define QUOTE_LIMIT			80

static void
append_path(StringInfo buf, const EbStep *step)
{
	if (step == NULL)
		return;
	append_path(buf, step->parent);
	appendStringInfoChar(buf, '/');
	if (step->key == NULL)
	{
		appendStringInfo(buf, "%d", step->index);
		return;
	}
	for (int i = 0; i < step->len; i++)
	{
		if (step->key[i] == '~')
			appendStringInfoString(buf, "~0");
		else if (step->key[i] == '/')
			appendStringInfoString(buf, "~1");
		else
			appendStringInfoChar(buf, step->key[i]);
	}
}

/* A name in double quotes, cut to a bearable length. */
char *
eb_schema_violation_quote(const char *s, int len)
{
	if (len > QUOTE_LIMIT)
	{
		int			cut = pg_mbcliplen(s, len, QUOTE_LIMIT);

		return psprintf("\"%.*s...\"", cut, s);
	}
	return psprintf("\"%.*s\"", len, s);
}

bool
eb_schema_violation(EbEval *ev, const EbNode *node, const char *keyword,
					const char *fmt,...)
{
	EbViolation *violation;
	StringInfoData buf;
	va_list		args;

	if (!ev->collect || list_length(ev->violations) >= ev->limit)
		return false;
	violation = palloc(sizeof(EbViolation));
	initStringInfo(&buf);
	append_path(&buf, ev->step);
	violation->instance_path = buf.data;
	violation->keyword = keyword;
	violation->schema_path = strcmp(keyword, EB_FALSE_SCHEMA) == 0 ?
		pstrdup(node->path) : psprintf("%s/%s", node->path, keyword);

	initStringInfo(&buf);
	for (;;)
	{
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&buf, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	violation->message = buf.data;
	ev->violations = lappend(ev->violations, violation);
	return false;
}

void
eb_schema_marks_init(EbMarks *marks, const EbJson *v)
{
	marks->all = false;
	marks->first = 0;
	marks->more = NULL;
	marks->n = v->type == EB_JSON_ARRAY || v->type == EB_JSON_OBJECT ?
		EbJsonCount(v) : 0;
}

void
eb_schema_marks_free(EbMarks *marks)
{
	if (marks->more)
		pfree(marks->more);
}

static int
more_words(const EbMarks *marks)
{
	return (marks->n + 63) / 64 - 1;
}

void
eb_schema_marks_set(EbMarks *marks, int i)
{
	if (i < 64)
	{
		marks->first |= UINT64CONST(1) << i;
		return;
	}
	if (marks->more == NULL)
		marks->more = palloc0(sizeof(uint64) * more_words(marks));
	marks->more[i / 64 - 1] |= UINT64CONST(1) << (i % 64);
}

bool
eb_schema_marks_get(const EbMarks *marks, int i)
{
	if (marks->all)
		return true;
	if (i < 64)
		return (marks->first >> i) & 1;
	return marks->more != NULL && ((marks->more[i / 64 - 1] >> (i % 64)) & 1);
}

void
eb_schema_marks_merge(EbMarks *marks, const EbMarks *other)
{
	marks->all |= other->all;
	marks->first |= other->first;
	if (other->more == NULL)
		return;
	if (marks->more == NULL)
		marks->more = palloc0(sizeof(uint64) * more_words(marks));
	for (int i = 0; i < more_words(marks); i++)
		marks->more[i] |= other->more[i];
}
