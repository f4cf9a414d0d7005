/*
 * topic.c
 *	  Event types and topic patterns (NATS syntax: * one token, > one or more).
 *
 * Pure functions over bytes.  A pattern is cut into tokens once; an event type is
 * cut once a call, however many patterns it is matched against.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "eventbus.h"
#include "topic.h"

typedef enum EbTokenKind
{
	EB_TOKEN_LITERAL,
	EB_TOKEN_ONE,				/* * */
	EB_TOKEN_REST				/* > */
} EbTokenKind;

typedef struct EbToken
{
	const char *s;
	int			len;
	EbTokenKind kind;
} EbToken;

typedef struct EbPattern
{
	bool		exclude;
	uint16		first;			/* index of its first token */
	uint16		ntokens;
} EbPattern;

struct EbTopics
{
	int			npatterns;
	EbPattern  *patterns;
	EbToken    *tokens;			/* of all patterns; text of its own follows */
};

static inline bool
token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/*
 * Cuts s at its dots.  Returns the number of tokens, at most max; what lies
 * beyond is not looked at.
 */
static int
split(const char *s, int len, EbToken *tokens, int max)
{
	int			n = 0;
	int			start = 0;

	for (int i = 0; i <= len && n < max; i++)
	{
		if (i < len && s[i] != '.')
			continue;
		tokens[n].s = s + start;
		tokens[n].len = i - start;
		tokens[n].kind = EB_TOKEN_LITERAL;
		n++;
		start = i + 1;
	}
	return n;
}

static bool
token_valid(const EbToken *token)
{
	for (int i = 0; i < token->len; i++)
		if (!token_char(token->s[i]))
			return false;
	return token->len > 0;
}

bool
eb_topic_type_valid(const char *s, int len, const char **reason)
{
	int			tokens = 1;
	int			token_len = 0;

	*reason = NULL;
	if (len > EB_TYPE_MAX_LEN)
		*reason = "it is longer than 255 bytes";
	for (int i = 0; i < len && *reason == NULL; i++)
	{
		if (token_char(s[i]))
			token_len++;
		else if (s[i] != '.')
			*reason = "only a-z, 0-9, _, - and dots between tokens are allowed";
		else if (token_len == 0)
			*reason = "it has an empty token";
		else
		{
			tokens++;
			token_len = 0;
		}
	}
	if (*reason == NULL && token_len == 0)
		*reason = len == 0 ? "it is empty" : "it has an empty token";
	if (*reason == NULL && tokens < EB_TYPE_MIN_TOKENS)
		*reason = "it has only one token";
	if (*reason == NULL && tokens > EB_TYPE_MAX_TOKENS)
		*reason = "it has more than 16 tokens";
	return *reason == NULL;
}

void
eb_topic_check_type(const char *s, int len)
{
	const char *reason;

	if (!eb_topic_type_valid(s, len, &reason))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid event type \"%.*s\"",
						pg_mbcliplen(s, len, EB_TYPE_MAX_LEN), s),
				 errdetail("The event type is refused because %s.", reason),
				 errhint("An event type is 2 to 16 dot-separated tokens of a-z, 0-9, _ and -, for example \"order.placed\".")));
}

/* Marks the wildcards of a pattern; returns why it is bad, or NULL. */
static const char *
classify(EbToken *tokens, int n)
{
	for (int i = 0; i < n; i++)
	{
		EbToken    *token = &tokens[i];

		if (token->len == 1 && token->s[0] == '*')
			token->kind = EB_TOKEN_ONE;
		else if (token->len == 1 && token->s[0] == '>')
		{
			if (i < n - 1)
				return "\">\" is allowed as the last token only";
			token->kind = EB_TOKEN_REST;
		}
		else if (!token_valid(token))
			return "each token must be \"*\", \">\" or consist of a-z, 0-9, _ and -";
	}
	return NULL;
}

/* Cuts and classifies a pattern; errors if it is malformed. */
static int
parse_pattern(const char *s, EbToken *tokens)
{
	const char *bare = s[0] == '!' ? s + 1 : s;
	int			len = strlen(bare);
	const char *reason;
	int			n = split(bare, len, tokens, EB_TYPE_MAX_TOKENS + 1);

	if (len > EB_TYPE_MAX_LEN)
		reason = "it is longer than 255 bytes";
	else if (n > EB_TYPE_MAX_TOKENS)
		reason = "it has more than 16 tokens";
	else
		reason = classify(tokens, n);
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid topic pattern \"%.*s\"",
						pg_mbcliplen(s, strlen(s), EB_TYPE_MAX_LEN), s),
				 errdetail("The pattern is refused because %s.", reason),
				 errhint("For example \"order.*\", \"order.>\", \">\" or, to exclude, \"!order.test.>\".")));
	return n;
}

/* Errors unless there is a pattern, none is NULL, and one includes something. */
static void
check_patterns(int n, const char *const *patterns)
{
	bool		including = false;

	if (n <= 0 || patterns == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topics must not be empty"),
				 errhint("Use '{>}' for every event.")));
	for (int i = 0; i < n; i++)
	{
		if (patterns[i] == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a topic must not be NULL"),
					 errhint("Leave the element out; '{>}' is every type.")));
		if (patterns[i][0] != '!')
			including = true;
	}
	if (!including)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topics exclude only and so match nothing"),
				 errhint("Add a topic that includes, for example '>'.")));
}

EbTopics *
eb_topic_compile(int n, const char *const *patterns)
{
	EbToken		scratch[EB_TYPE_MAX_TOKENS + 1];
	Size		ntokens = 0;
	Size		text = 0;
	EbTopics   *topics;
	char	   *copy;
	EbToken    *token;

	check_patterns(n, patterns);
	for (int i = 0; i < n; i++)
	{
		ntokens += parse_pattern(patterns[i], scratch);
		text += strlen(patterns[i]) + 1;
	}
	if (ntokens > PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many topics")));

	topics = palloc(MAXALIGN(sizeof(EbTopics)) + MAXALIGN(n * sizeof(EbPattern)) +
					ntokens * sizeof(EbToken) + text);
	topics->npatterns = n;
	topics->patterns = (EbPattern *) ((char *) topics + MAXALIGN(sizeof(EbTopics)));
	topics->tokens = (EbToken *) ((char *) topics->patterns + MAXALIGN(n * sizeof(EbPattern)));
	copy = (char *) (topics->tokens + ntokens);
	token = topics->tokens;
	for (int i = 0; i < n; i++)
	{
		EbPattern  *pattern = &topics->patterns[i];

		strcpy(copy, patterns[i]);
		pattern->ntokens = parse_pattern(copy, scratch);
		pattern->exclude = copy[0] == '!';
		pattern->first = token - topics->tokens;
		memcpy(token, scratch, pattern->ntokens * sizeof(EbToken));
		token += pattern->ntokens;
		copy += strlen(copy) + 1;
	}
	return topics;
}

static bool
match_tokens(const EbToken *pattern, int npattern, const EbToken *type, int ntype)
{
	for (int i = 0; i < npattern; i++)
	{
		if (i >= ntype)
			return false;
		switch (pattern[i].kind)
		{
			case EB_TOKEN_REST:
				return true;
			case EB_TOKEN_ONE:
				break;
			case EB_TOKEN_LITERAL:
				if (pattern[i].len != type[i].len ||
					memcmp(pattern[i].s, type[i].s, type[i].len) != 0)
					return false;
				break;
		}
	}
	return npattern == ntype;
}

bool
eb_topic_match(const EbTopics *topics, const char *type, int len)
{
	EbToken		tokens[EB_TYPE_MAX_TOKENS + 1];
	int			ntokens = split(type, len, tokens, EB_TYPE_MAX_TOKENS + 1);
	bool		included = false;

	for (int i = 0; i < topics->npatterns; i++)
	{
		const EbPattern *pattern = &topics->patterns[i];

		if (included && !pattern->exclude)
			continue;
		if (!match_tokens(topics->tokens + pattern->first, pattern->ntokens,
						  tokens, ntokens))
			continue;
		if (pattern->exclude)
			return false;
		included = true;
	}
	return included;
}

bool
eb_topic_match_one(const char *pattern, const char *type, int len)
{
	EbToken		tokens[EB_TYPE_MAX_TOKENS + 1];
	EbToken		type_tokens[EB_TYPE_MAX_TOKENS + 1];
	int			n = split(pattern, strlen(pattern), tokens, EB_TYPE_MAX_TOKENS + 1);

	if (classify(tokens, n) != NULL)
		return false;
	return match_tokens(tokens, n, type_tokens,
						split(type, len, type_tokens, EB_TYPE_MAX_TOKENS + 1));
}

/* See topic.h.  Token by token, as a match: * also takes a *, and > whatever follows. */
bool
eb_topic_covers(const char *wider, const char *narrower)
{
	EbToken		w[EB_TYPE_MAX_TOKENS + 1];
	EbToken		n[EB_TYPE_MAX_TOKENS + 1];
	int			nw = split(wider, strlen(wider), w, EB_TYPE_MAX_TOKENS + 1);
	int			nn = split(narrower, strlen(narrower), n, EB_TYPE_MAX_TOKENS + 1);

	if (classify(w, nw) != NULL || classify(n, nn) != NULL)
		return false;
	for (int i = 0; i < nw; i++)
	{
		if (i >= nn)
			return false;
		if (w[i].kind == EB_TOKEN_REST)
			return true;
		if (n[i].kind == EB_TOKEN_REST ||
			(w[i].kind == EB_TOKEN_LITERAL &&
			 (n[i].kind != EB_TOKEN_LITERAL || w[i].len != n[i].len ||
			  memcmp(w[i].s, n[i].s, w[i].len) != 0)))
			return false;
	}
	return nw == nn;
}

/*
 * Orders the patterns that match one type: the first token in which two of them
 * differ decides, a literal above *, * above >.
 */
int
eb_topic_specificity(const char *pattern)
{
	EbToken		tokens[EB_TYPE_MAX_TOKENS + 1];
	int			n = split(pattern, strlen(pattern), tokens, EB_TYPE_MAX_TOKENS);
	int			specificity = 0;

	(void) classify(tokens, n);
	for (int i = 0; i < EB_TYPE_MAX_TOKENS; i++)
	{
		int			digit = 0;

		if (i < n && tokens[i].kind == EB_TOKEN_LITERAL)
			digit = 2;
		else if (i < n && tokens[i].kind == EB_TOKEN_ONE)
			digit = 1;
		specificity = specificity * 3 + digit;
	}
	return specificity;
}

const char **
eb_topic_strings(ArrayType *patterns, int *n)
{
	Datum	   *elems;
	bool	   *nulls;
	const char **strings;

	deconstruct_array(patterns, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, n);
	strings = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		strings[i] = nulls[i] ? NULL : TextDatumGetCString(elems[i]);
	return strings;
}

EbTopics *
eb_topic_compile_array(ArrayType *patterns)
{
	int			n;
	const char **strings = eb_topic_strings(patterns, &n);

	return eb_topic_compile(n, strings);
}
