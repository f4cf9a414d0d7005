/*
 * schema_regex.c
 *		Compiles and runs ECMA 262 patterns on PostgreSQL's regex engine.
 *
 * The engine is automaton-based: a pattern without back references takes time
 * linear in the subject, and all of it can be cancelled.  Compiled patterns
 * belong to a memory context; before PG 16 the engine uses malloc, so a reset
 * callback gives that memory back.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/memutils.h"

#include "schema_regex.h"

/* subjects up to this length are widened on the stack */
#define STACK_CHARS			256

struct EbRegex
{
	regex_t		re;
	char	   *source;			/* as in the schema, for messages */
	MemoryContextCallback callback;
};

static void
free_regex(void *arg)
{
	pg_regfree((regex_t *) arg);
}

EbRegex *
eb_schema_regex_compile(const char *pattern, int len, const char **problem)
{
	char	   *translated = eb_schema_regex_translate(pattern, len, problem);
	EbRegex    *regex;
	pg_wchar   *wide;
	int			code;

	if (translated == NULL)
		return NULL;
	regex = palloc0(sizeof(EbRegex));
	regex->source = pnstrdup(pattern, len);
	wide = palloc(sizeof(pg_wchar) * (strlen(translated) + 1));
	len = pg_mb2wchar_with_len(translated, wide, strlen(translated));
	code = pg_regcomp(&regex->re, wide, len, REG_ADVANCED | REG_NOSUB,
					  C_COLLATION_OID);
	pfree(wide);
	if (code != REG_OKAY)
	{
		char		message[100];

		CHECK_FOR_INTERRUPTS();
		pg_regerror(code, &regex->re, message, sizeof(message));
		*problem = psprintf("PostgreSQL's regex engine refuses it: %s", message);
		return NULL;
	}
	regex->callback.func = free_regex;
	regex->callback.arg = &regex->re;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &regex->callback);
	pfree(translated);
	return regex;
}

const char *
eb_schema_regex_source(const EbRegex *regex)
{
	return regex->source;
}

/* Does the pattern match anywhere in s? */
bool
eb_schema_regex_matches(const EbRegex *regex, const char *s, int len)
{
	pg_wchar	stack[STACK_CHARS + 1];
	pg_wchar   *wide = stack;
	int			code;

	if (len > STACK_CHARS)
		wide = palloc_extended(sizeof(pg_wchar) * ((Size) len + 1), MCXT_ALLOC_HUGE);
	code = pg_regexec(unconstify(regex_t *, &regex->re), wide,
					  pg_mb2wchar_with_len(s, wide, len), 0, NULL, 0, NULL, 0);
	if (wide != stack)
		pfree(wide);
	if (code != REG_OKAY && code != REG_NOMATCH)
	{
		char		message[100];

		CHECK_FOR_INTERRUPTS();
		pg_regerror(code, &regex->re, message, sizeof(message));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
				 errmsg("pattern \"%s\" failed: %s", regex->source, message)));
	}
	return code == REG_OKAY;
}
