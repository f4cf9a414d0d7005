/*
 * parsers_fuzz.c
 *		libFuzzer target: everything that reads text or bytes one by one.  The
 *		first byte chooses what the rest is given to.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "cloudevent_attr.h"
#include "duration.h"
#include "eventbus.h"
#include "offsets.h"
#include "schema_format.h"
#include "schema_regex.h"
#include "schema_uri.h"
#include "topic.h"
#include "tracecontext.h"
#include "uuid7.h"

#include "stubs.h"

#define OFFSETS_MAX		1000
#define TOPICS_MAX		40

typedef void (*Target) (const char *s, int len);

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

/* A terminated copy of what the target gets, which is not. */
static char *
cstring(const char *s, int len)
{
	return pnstrdup(s, len);
}

/* The first bytes as a value; the others are zero. */
static void
take(void *value, size_t n, const char *s, int len)
{
	memset(value, 0, n);
	memcpy(value, s, Min((size_t) len, n));
}

static void
fuzz_regex(const char *s, int len)
{
	const char *problem;

	(void) eb_schema_regex_translate(s, len, &problem);
}

static void
fuzz_uri(const char *s, int len)
{
	char	   *fragment;
	int			n;

	(void) eb_schema_uri_resolve("https://example.com/a/b?c#d", s, len, &fragment);
	(void) eb_schema_uri_resolve("", s, len, &fragment);
	(void) eb_schema_uri_unescape(s, len, &n);
}

static void
fuzz_format(const char *s, int len)
{
	(void) eb_schema_format_lookup(s, len);
	for (int f = EB_FORMAT_NONE; f <= EB_FORMAT_HOSTNAME; f++)
		(void) eb_schema_format_valid(f, s, len);
}

static void
fuzz_trace(const char *s, int len)
{
	(void) eb_traceparent_valid(s, len);
	(void) eb_tracestate_valid(s, len);
}

static void
fuzz_type(const char *s, int len)
{
	const char *reason;
	bool		valid = eb_topic_type_valid(s, len, &reason);

	must(valid == (reason == NULL));
	if (valid)
	{
		char	   *type = cstring(s, len);

		/* a type is a pattern that matches itself */
		must(eb_topic_match_one(type, s, len));
		must(eb_topic_covers(type, type));
		must(eb_topic_covers(">", type));
	}
	eb_topic_check_type(s, len);
	must(valid);				/* otherwise it has not come back */
}

/* Patterns between newlines; the first line is the type to match, too. */
static void
fuzz_topics(const char *s, int len)
{
	char	   *text = cstring(s, len);
	const char *patterns[TOPICS_MAX];
	int			n = 0;
	EbTopics   *topics;

	for (char *p = strtok(text, "\n"); p != NULL && n < TOPICS_MAX; p = strtok(NULL, "\n"))
		patterns[n++] = p;
	for (int i = 0; i < n; i++)
	{
		bool		matches = eb_topic_match_one(patterns[i], patterns[0], strlen(patterns[0]));
		bool		covers = eb_topic_covers(patterns[i], patterns[0]);

		/* what covers a pattern matches it as a type, wildcards apart */
		must(!covers || matches || strpbrk(patterns[0], "*>") != NULL);
		(void) eb_topic_specificity(patterns[i]);
	}
	topics = eb_topic_compile(n, patterns);
	(void) eb_topic_match(topics, s, len);
	(void) eb_topic_match(topics, patterns[0], strlen(patterns[0]));
}

static void
fuzz_cloudevent(const char *s, int len)
{
	char	   *name = cstring(s, len);

	(void) eb_cloudevent_attr_base64_valid(s, len);
	(void) eb_cloudevent_attr_name_valid(name);
	(void) eb_cloudevent_attr_reserved(name);
}

static void
fuzz_duration(const char *s, int len)
{
	Interval	interval;
	int64		us;

	take(&interval, sizeof(interval), s, len);
	us = eb_duration_us(&interval, "interval", len % 3 - 1);
	must(us >= len % 3 - 1);
}

static void
fuzz_uuid(const char *s, int len)
{
	pg_uuid_t	id;
	pg_uuid_t	low;
	TimestampTz at;

	take(&id, sizeof(id), s, len);
	if (eb_uuid7_is_v7(&id))
	{
		at = eb_uuid7_time(&id);
		eb_uuid7_floor(at, &low);
		must(memcmp(&low, &id, sizeof(id)) <= 0 && eb_uuid7_time(&low) == at);
	}
	take(&at, sizeof(at), s, len);
	eb_uuid7_floor(at, &low);
	must(eb_uuid7_is_v7(&low));
}

/* The bytes as an encoded list, and as a list to encode. */
static void
fuzz_offsets(const char *s, int len)
{
	static int64 offsets[OFFSETS_MAX];
	static int64 again[OFFSETS_MAX];
	static unsigned char out[EB_OFFSETS_SIZE(OFFSETS_MAX)];
	Size		size;
	int			n;

	for (n = 0; n < OFFSETS_MAX; n++)
		if (!eb_offsets_decode((const unsigned char *) s, len, len, n + 1, offsets))
			break;
	size = eb_offsets_encode(offsets, n, len, out);
	must(eb_offsets_decode(out, size, len, n, again));
	must(memcmp(offsets, again, n * sizeof(int64)) == 0);

	n = Min(len / (int) sizeof(int64), OFFSETS_MAX);
	memcpy(offsets, s, n * sizeof(int64));
	size = eb_offsets_encode(offsets, n, -len, out);
	must(eb_offsets_decode(out, size, -len, n, again));
	must(memcmp(offsets, again, n * sizeof(int64)) == 0);
	must(n == 0 || !eb_offsets_decode(out, size - 1, -len, n, again));
}

/* By '0' plus the index; text is cut to what a text value can be. */
static const struct
{
	Target		run;
	bool		text;
}			targets[] = {
	{fuzz_regex, true},
	{fuzz_uri, true},
	{fuzz_format, true},
	{fuzz_trace, true},
	{fuzz_type, true},
	{fuzz_topics, true},
	{fuzz_cloudevent, true},
	{fuzz_duration, false},
	{fuzz_uuid, false},
	{fuzz_offsets, false},
};

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
	int			target;

	if (size < 2)
		return 0;
	target = (uint8_t) (data[0] - '0') % lengthof(targets);
	len = targets[target].text ? valid_prefix(data + 1, size - 1) : (int) size - 1;
	/* an exact copy, not terminated: reading past the end is caught */
	s = malloc(len ? len : 1);
	memcpy(s, data + 1, len);
	if (sigsetjmp(fuzz_error, 0) == 0)
		targets[target].run(s, len);
	free(s);
	fuzz_reset();
	return 0;
}
