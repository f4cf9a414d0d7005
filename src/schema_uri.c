/*
 * schema_uri.c
 *		RFC 3986 reference resolution, as far as schema identifiers need it.
 *
 * A base may be empty: a schema without $id.  Then relative references resolve
 * to relative references, which compare equal where they should.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "schema_uri.h"

/* The parts of a URI reference as slices; NULL: not there. */
typedef struct EbUri
{
	const char *scheme;
	int			scheme_len;
	const char *authority;
	int			authority_len;
	const char *path;
	int			path_len;
	const char *query;
	int			query_len;
	const char *fragment;
	int			fragment_len;
} EbUri;

static int
scheme_length(const char *s, int len)
{
	for (int i = 0; i < len; i++)
	{
		bool		alpha = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z');

		if (s[i] == ':')
			return i;
		if (!alpha && (i == 0 || !((s[i] >= '0' && s[i] <= '9') ||
								   s[i] == '+' || s[i] == '-' || s[i] == '.')))
			return 0;
	}
	return 0;
}

static void
parse_uri(EbUri *uri, const char *s, int len)
{
	const char *end = s + len;
	const char *mark;

	memset(uri, 0, sizeof(*uri));
	if ((mark = memchr(s, '#', end - s)) != NULL)
	{
		uri->fragment = mark + 1;
		uri->fragment_len = end - mark - 1;
		end = mark;
	}
	if ((mark = memchr(s, '?', end - s)) != NULL)
	{
		uri->query = mark + 1;
		uri->query_len = end - mark - 1;
		end = mark;
	}
	uri->scheme_len = scheme_length(s, end - s);
	if (uri->scheme_len > 0)
	{
		uri->scheme = s;
		s += uri->scheme_len + 1;
	}
	if (end - s >= 2 && s[0] == '/' && s[1] == '/')
	{
		uri->authority = s + 2;
		for (s += 2; s < end && *s != '/'; s++)
			;
		uri->authority_len = s - uri->authority;
	}
	uri->path = s;
	uri->path_len = end - s;
}

/* Drops the last segment written so far, with its slash. */
static void
drop_segment(StringInfo out)
{
	while (out->len > 0 && out->data[out->len - 1] != '/')
		out->len--;
	if (out->len > 0)
		out->len--;
	out->data[out->len] = '\0';
}

/* RFC 3986, 5.2.4 */
static void
append_without_dots(StringInfo target, const char *path, int len)
{
	const char *s = path;
	const char *end = path + len;
	StringInfoData out;

	initStringInfo(&out);
	while (s < end)
	{
		const char *slash = memchr(s + 1, '/', end - s - 1);
		int			n = (slash ? slash : end) - s;

		if ((n == 2 && memcmp(s, "/.", 2) == 0) ||
			(n == 3 && memcmp(s, "/..", 3) == 0))
		{
			if (n == 3)
				drop_segment(&out);
			if (slash == NULL)
				appendStringInfoChar(&out, '/');
		}
		else if (s != path || *s == '/' ||
				 !((n == 1 && *s == '.') || (n == 2 && memcmp(s, "..", 2) == 0)))
			appendBinaryStringInfo(&out, s, n);
		s += n;
	}
	appendBinaryStringInfo(target, out.data, out.len);
	pfree(out.data);
}

static void
append_path(StringInfo out, const EbUri *base, const EbUri *ref)
{
	StringInfoData merged;
	int			keep;

	if (ref->path[0] == '/' && ref->path_len > 0)
	{
		append_without_dots(out, ref->path, ref->path_len);
		return;
	}
	initStringInfo(&merged);
	keep = base->path_len;
	while (keep > 0 && base->path[keep - 1] != '/')
		keep--;
	if (base->authority && base->path_len == 0)
		appendStringInfoChar(&merged, '/');
	appendBinaryStringInfo(&merged, base->path, keep);
	appendBinaryStringInfo(&merged, ref->path, ref->path_len);
	append_without_dots(out, merged.data, merged.len);
	pfree(merged.data);
}

static void
append_authority(StringInfo out, const EbUri *uri)
{
	if (uri->authority)
	{
		appendStringInfoString(out, "//");
		appendBinaryStringInfo(out, uri->authority, uri->authority_len);
	}
}

static void
append_query(StringInfo out, const EbUri *uri)
{
	if (uri->query)
	{
		appendStringInfoChar(out, '?');
		appendBinaryStringInfo(out, uri->query, uri->query_len);
	}
}

/*
 * The reference resolved against the base, without its fragment, which goes to
 * *fragment still percent-encoded (NULL if there is none).
 */
char *
eb_schema_uri_resolve(const char *base, const char *reference, int len,
					  char **fragment)
{
	StringInfoData out;
	EbUri		b;
	EbUri		r;

	initStringInfo(&out);
	parse_uri(&b, base, strlen(base));
	parse_uri(&r, reference, len);
	*fragment = r.fragment ? pnstrdup(r.fragment, r.fragment_len) : NULL;

	if (r.scheme)
	{
		appendBinaryStringInfo(&out, r.scheme, r.scheme_len + 1);
		append_authority(&out, &r);
		append_without_dots(&out, r.path, r.path_len);
		append_query(&out, &r);
		return out.data;
	}
	if (b.scheme)
		appendBinaryStringInfo(&out, b.scheme, b.scheme_len + 1);
	append_authority(&out, r.authority ? &r : &b);
	if (r.authority)
	{
		append_without_dots(&out, r.path, r.path_len);
		append_query(&out, &r);
	}
	else if (r.path_len > 0)
	{
		append_path(&out, &b, &r);
		append_query(&out, &r);
	}
	else
	{
		appendBinaryStringInfo(&out, b.path, b.path_len);
		append_query(&out, r.query ? &r : &b);
	}
	return out.data;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* %xx to bytes */
char *
eb_schema_uri_unescape(const char *s, int len, int *outlen)
{
	char	   *out = palloc(len + 1);
	int			n = 0;

	for (int i = 0; i < len; i++)
	{
		if (s[i] == '%' && i + 2 < len &&
			hex_value(s[i + 1]) >= 0 && hex_value(s[i + 2]) >= 0)
		{
			out[n++] = hex_value(s[i + 1]) * 16 + hex_value(s[i + 2]);
			i += 2;
		}
		else
			out[n++] = s[i];
	}
	out[n] = '\0';
	*outlen = n;
	return out;
}
