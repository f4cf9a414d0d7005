/*
 * tracecontext.c
 *		Validity of W3C Trace Context headers (level 1, with level 1's rule for
 *		versions yet to come).
 *
 * Pure functions over bytes: a header that fails here is ignored by the
 * caller, never an error, as the recommendation demands.
 */
#include "postgres.h"

#include "tracecontext.h"

/* lengths of a version 00 traceparent and of the parts of a tracestate */
#define TRACEPARENT_LEN		55
#define TRACESTATE_MEMBERS	32
#define TRACESTATE_KEY_LEN	256
#define TRACESTATE_VALUE_LEN 256
#define TENANT_LEN			241
#define SYSTEM_LEN			14

typedef struct EbTraceMember
{
	const char *key;
	int			len;
} EbTraceMember;

/* n lower-case hex digits; *zero tells whether all of them are 0 */
static bool
is_lower_hex(const char *s, int n, bool *zero)
{
	*zero = true;
	for (int i = 0; i < n; i++)
	{
		if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
			return false;
		if (s[i] != '0')
			*zero = false;
	}
	return true;
}

/*
 * version "-" trace-id "-" parent-id "-" flags; ids of zeros and version ff
 * are invalid, a later version may go on after another dash.
 */
bool
eb_traceparent_valid(const char *s, int len)
{
	bool		zero;

	if (s == NULL || len < TRACEPARENT_LEN)
		return false;
	if (s[2] != '-' || s[35] != '-' || s[52] != '-')
		return false;
	if (!is_lower_hex(s, 2, &zero) || (s[0] == 'f' && s[1] == 'f'))
		return false;
	if (len > TRACEPARENT_LEN && (zero || s[TRACEPARENT_LEN] != '-'))
		return false;
	if (!is_lower_hex(s + 3, 32, &zero) || zero)
		return false;
	if (!is_lower_hex(s + 36, 16, &zero) || zero)
		return false;
	return is_lower_hex(s + 53, 2, &zero);
}

static bool
is_lower_alpha(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
key_chars_valid(const char *s, int len)
{
	for (int i = 0; i < len; i++)
		if (!is_lower_alpha(s[i]) && !is_digit(s[i]) && s[i] != '_' &&
			s[i] != '-' && s[i] != '*' && s[i] != '/')
			return false;
	return true;
}

/* simple-key, or tenant-id "@" system-id */
static bool
member_key_valid(const char *s, int len)
{
	const char *at = memchr(s, '@', len);

	if (len < 1 || len > TRACESTATE_KEY_LEN)
		return false;
	if (at == NULL)
		return is_lower_alpha(s[0]) && key_chars_valid(s, len);
	else
	{
		int			tenant = at - s;
		int			system = len - tenant - 1;

		return tenant >= 1 && tenant <= TENANT_LEN &&
			system >= 1 && system <= SYSTEM_LEN &&
			(is_lower_alpha(s[0]) || is_digit(s[0])) &&
			is_lower_alpha(at[1]) &&
			key_chars_valid(s, tenant) && key_chars_valid(at + 1, system);
	}
}

static bool
member_value_valid(const char *s, int len)
{
	if (len < 1 || len > TRACESTATE_VALUE_LEN || s[len - 1] == ' ')
		return false;
	for (int i = 0; i < len; i++)
		if (s[i] < 0x20 || s[i] > 0x7e || s[i] == ',' || s[i] == '=')
			return false;
	return true;
}

/* One list member, optional white space already cut; keys may not repeat. */
static bool
member_valid(const char *s, int len, EbTraceMember *seen, int *nseen)
{
	const char *eq = memchr(s, '=', len);
	int			keylen;

	if (eq == NULL || *nseen == TRACESTATE_MEMBERS)
		return false;
	keylen = eq - s;
	if (!member_key_valid(s, keylen) ||
		!member_value_valid(eq + 1, len - keylen - 1))
		return false;
	for (int i = 0; i < *nseen; i++)
		if (seen[i].len == keylen && memcmp(seen[i].key, s, keylen) == 0)
			return false;
	seen[*nseen].key = s;
	seen[*nseen].len = keylen;
	(*nseen)++;
	return true;
}

/* Up to 32 key=value members between commas; empty members are legal. */
bool
eb_tracestate_valid(const char *s, int len)
{
	EbTraceMember seen[TRACESTATE_MEMBERS];
	int			nseen = 0;
	int			pos = 0;

	if (s == NULL)
		return false;
	while (pos <= len)
	{
		const char *comma = pos < len ? memchr(s + pos, ',', len - pos) : NULL;
		int			end = comma ? comma - s : len;
		int			from = pos;
		int			to = end;

		while (from < to && (s[from] == ' ' || s[from] == '\t'))
			from++;
		while (to > from && (s[to - 1] == ' ' || s[to - 1] == '\t'))
			to--;
		if (to > from && !member_valid(s + from, to - from, seen, &nseen))
			return false;
		pos = end + 1;
	}
	return true;
}
