/*
 * parsers_fuzz.c
 *		libFuzzer target: everything that reads text byte by byte.  The first byte
 *		chooses what the rest is given to.
 */
#include "postgres.h"

#include "schema_format.h"
#include "schema_regex.h"
#include "schema_uri.h"
#include "tracecontext.h"

#include "stubs.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The longest prefix that is valid UTF-8 without U+0000, as a text value is. */
static int
valid_prefix(const unsigned char *s, int len)
{
	int			i = 0;

	while (i < len && s[i] != 0)
	{
		int			l = s[i] < 0x80 ? 1 : s[i] < 0xC2 ? 9 : s[i] < 0xE0 ? 2 : s[i] < 0xF0 ? 3 : s[i] < 0xF5 ? 4 : 9;

		if (l == 9 || i + l > len)
			break;
		for (int j = 1; j < l; j++)
			if ((s[i + j] & 0xC0) != 0x80)
				return i;
		i += l;
	}
	return i;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *s;
	int			len;
	const char *problem;
	char	   *fragment;
	int			n;

	if (size < 2 || size > 2000)
		return 0;
	len = valid_prefix(data + 1, size - 1);
	/* an exact copy, not terminated: reading past the end is caught */
	s = malloc(len ? len : 1);
	memcpy(s, data + 1, len);
	if (setjmp(fuzz_error) == 0)
	{
		switch (data[0] % 5)
		{
			case 0:
			case 1:
				(void) eb_schema_regex_translate(s, len, &problem);
				break;
			case 2:
				(void) eb_schema_uri_resolve("https://example.com/a/b?c#d", s, len, &fragment);
				(void) eb_schema_uri_resolve("", s, len, &fragment);
				(void) eb_schema_uri_unescape(s, len, &n);
				break;
			case 3:
				for (int f = EB_FORMAT_NONE; f <= EB_FORMAT_HOSTNAME; f++)
					(void) eb_schema_format_valid(f, s, len);
				break;
			default:
				(void) eb_traceparent_valid(s, len);
				(void) eb_tracestate_valid(s, len);
		}
	}
	free(s);
	fuzz_reset();
	return 0;
}
