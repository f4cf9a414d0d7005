/*
 * stubs.c
 *		As much of the server as the pure parts of the schema code need, on plain
 *		malloc, so that the address sanitizer sees every allocation by itself.
 *
 * What is allocated between two inputs is freed by fuzz_reset().
 */
#include "postgres.h"

#include <setjmp.h>
#include <stdlib.h>

/* its data is const char * or const void *, by server version */
#define appendBinaryStringInfo server_appendBinaryStringInfo
#include "lib/stringinfo.h"
#undef appendBinaryStringInfo
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "stubs.h"

static void **chunks;
static size_t nchunks;
static size_t maxchunks;
sigjmp_buf	fuzz_error;
sigjmp_buf *PG_exception_stack = &fuzz_error;
MemoryContext CurrentMemoryContext = NULL;

static void *
remember(void *p)
{
	if (nchunks == maxchunks)
		chunks = realloc(chunks, sizeof(void *) * (maxchunks = maxchunks * 2 + 64));
	return chunks[nchunks++] = p;
}

void
fuzz_reset(void)
{
	while (nchunks > 0)
		free(chunks[--nchunks]);
}

void *
palloc(Size size)
{
	return remember(malloc(size));
}

void *
palloc0(Size size)
{
	return remember(calloc(1, size));
}

void *
repalloc(void *p, Size size)
{
	for (size_t i = nchunks; i-- > 0;)
		if (chunks[i] == p)
			return chunks[i] = realloc(p, size);
	abort();
}

void
pfree(void *p)
{
	for (size_t i = nchunks; i-- > 0;)
	{
		if (chunks[i] != p)
			continue;
		chunks[i] = chunks[--nchunks];
		free(p);
		return;
	}
	abort();
}

char *
pnstrdup(const char *s, Size len)
{
	size_t		n = strnlen(s, len);
	char	   *copy = palloc(n + 1);

	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *
pstrdup(const char *s)
{
	return pnstrdup(s, strlen(s));
}

void
initStringInfo(StringInfo str)
{
	str->data = palloc(1024);
	str->maxlen = 1024;
	resetStringInfo(str);
}

void
resetStringInfo(StringInfo str)
{
	str->data[0] = '\0';
	str->len = 0;
	str->cursor = 0;
}

void
enlargeStringInfo(StringInfo str, int needed)
{
	while (str->len + needed + 1 > str->maxlen)
		str->data = repalloc(str->data, str->maxlen *= 2);
}

void		appendBinaryStringInfo(StringInfo str, const void *data, int len);

void
appendBinaryStringInfo(StringInfo str, const void *data, int len)
{
	enlargeStringInfo(str, len);
	memcpy(str->data + str->len, data, len);
	str->len += len;
	str->data[str->len] = '\0';
}

void
appendStringInfoString(StringInfo str, const char *s)
{
	appendBinaryStringInfo(str, s, strlen(s));
}

void
appendStringInfoChar(StringInfo str, char c)
{
	appendBinaryStringInfo(str, &c, 1);
}

void
appendStringInfo(StringInfo str, const char *fmt,...)
{
	va_list		args;
	int			n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	enlargeStringInfo(str, n);
	va_start(args, fmt);
	vsnprintf(str->data + str->len, n + 1, fmt, args);
	va_end(args);
	str->len += n;
}

void
check_stack_depth(void)
{
	char		here;
	static char *base;

	if (base == NULL)
		base = &here;
	if (base - &here > 1024 * 1024)
		siglongjmp(fuzz_error, 1);
}

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

/* The input is cut to valid UTF-8 before it gets here. */
int
pg_mb2wchar_with_len(const char *from, pg_wchar *to, int len)
{
	int			n = 0;

	for (int i = 0; i < len;)
	{
		unsigned char c = from[i];
		int			l = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;

		to[n] = c < 0x80 ? c : c & (0xFF >> (l + 1));
		for (int j = 1; j < l; j++)
			to[n] = to[n] << 6 | (from[i + j] & 0x3F);
		n++;
		i += l;
	}
	to[n] = 0;
	return n;
}

/* ereport(ERROR): the message is made, as it would be, and thrown away. */

bool
errstart(int elevel, const char *domain)
{
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return true;
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	siglongjmp(fuzz_error, 1);
}

int
errcode(int sqlerrcode)
{
	return 0;
}

#define MESSAGE_STUB(name) \
	int \
	name(const char *fmt,...) \
	{ \
		va_list		args; \
		char		message[2048]; \
 \
		va_start(args, fmt); \
		vsnprintf(message, sizeof(message), fmt, args); \
		va_end(args); \
		return 0; \
	}

MESSAGE_STUB(errmsg)
MESSAGE_STUB(errmsg_internal)
MESSAGE_STUB(errdetail)
MESSAGE_STUB(errhint)

/* Never called: the arrays, times and random bytes that the files under test know, too. */

bool
pg_strong_random(void *buf, size_t len)
{
	abort();
}

void
deconstruct_array(ArrayType *array, Oid elmtype, int elmlen, bool elmbyval, char elmalign,
				  Datum **elemsp, bool **nullsp, int *nelemsp)
{
	abort();
}

char *
text_to_cstring(const text *t)
{
	abort();
}

int
timestamp2tm(Timestamp dt, int *tzp, struct pg_tm *tm, fsec_t *fsec, const char **tzn,
			 pg_tz *attimezone)
{
	abort();
}

char *
psprintf(const char *fmt,...)
{
	abort();
}

/* As the server's for UTF-8. */
int
pg_mbcliplen(const char *mbstr, int len, int limit)
{
	int			clen = 0;

	while (len > 0 && *mbstr != '\0')
	{
		unsigned char c = *mbstr;
		int			l = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;

		if (clen + l > limit)
			break;
		clen += l;
		len -= l;
		mbstr += l;
	}
	return clen;
}
