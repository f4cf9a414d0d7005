/*
 * schema_format.c
 *		Checks of the JSON Schema string formats that eventbus can assert.
 *
 * Pure functions over bytes, no allocation and no locale: date-time, date and
 * time as RFC 3339, email as RFC 5321, uri as RFC 3986, hostname as RFC 1123,
 * ipv4 as RFC 2673, ipv6 as RFC 4291, uuid as RFC 4122.
 */
#include "postgres.h"

#include "schema_format.h"

static const struct
{
	const char *name;
	EbFormat	format;
}			formats[] = {
	{"date-time", EB_FORMAT_DATE_TIME},
	{"date", EB_FORMAT_DATE},
	{"time", EB_FORMAT_TIME},
	{"email", EB_FORMAT_EMAIL},
	{"uri", EB_FORMAT_URI},
	{"uuid", EB_FORMAT_UUID},
	{"ipv4", EB_FORMAT_IPV4},
	{"ipv6", EB_FORMAT_IPV6},
	{"hostname", EB_FORMAT_HOSTNAME},
};

EbFormat
eb_schema_format_lookup(const char *name, int len)
{
	for (int i = 0; i < lengthof(formats); i++)
		if (strlen(formats[i].name) == len &&
			memcmp(formats[i].name, name, len) == 0)
			return formats[i].format;
	return EB_FORMAT_NONE;
}

const char *
eb_schema_format_name(EbFormat format)
{
	for (int i = 0; i < lengthof(formats); i++)
		if (formats[i].format == format)
			return formats[i].name;
	return "unknown";
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* n decimal digits as a number, or -1 */
static int
digits(const char *s, int n)
{
	int			value = 0;

	for (int i = 0; i < n; i++)
	{
		if (!is_digit(s[i]))
			return -1;
		value = value * 10 + (s[i] - '0');
	}
	return value;
}

static bool
date_valid(const char *s, int len)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			year;
	int			month;
	int			day;
	int			last;

	if (len != 10 || s[4] != '-' || s[7] != '-')
		return false;
	year = digits(s, 4);
	month = digits(s + 5, 2);
	day = digits(s + 8, 2);
	if (year < 0 || month < 1 || month > 12)
		return false;
	last = days[month - 1];
	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		last = 29;
	return day >= 1 && day <= last;
}

/* hh:mm:ss[.f+](Z|+hh:mm|-hh:mm); second 60 only at the end of a UTC day */
static bool
time_valid(const char *s, int len)
{
	int			hour;
	int			minute;
	int			second;
	int			offset = 0;
	int			pos = 8;

	if (len < 9 || s[2] != ':' || s[5] != ':')
		return false;
	hour = digits(s, 2);
	minute = digits(s + 3, 2);
	second = digits(s + 6, 2);
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
		second < 0 || second > 60)
		return false;
	if (s[pos] == '.')
	{
		pos++;
		if (pos >= len || !is_digit(s[pos]))
			return false;
		while (pos < len && is_digit(s[pos]))
			pos++;
	}
	if (pos + 1 == len && (s[pos] == 'Z' || s[pos] == 'z'))
		offset = 0;
	else if (pos + 6 == len && (s[pos] == '+' || s[pos] == '-') &&
			 s[pos + 3] == ':')
	{
		int			oh = digits(s + pos + 1, 2);
		int			om = digits(s + pos + 4, 2);

		if (oh < 0 || oh > 23 || om < 0 || om > 59)
			return false;
		offset = (oh * 60 + om) * (s[pos] == '-' ? -1 : 1);
	}
	else
		return false;
	if (second == 60)
	{
		int			utc = (hour * 60 + minute - offset + 2 * 1440) % 1440;

		return utc == 23 * 60 + 59;
	}
	return true;
}

static bool
date_time_valid(const char *s, int len)
{
	return len > 11 && (s[10] == 'T' || s[10] == 't') &&
		date_valid(s, 10) && time_valid(s + 11, len - 11);
}

static bool
uuid_valid(const char *s, int len)
{
	if (len != 36)
		return false;
	for (int i = 0; i < len; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? s[i] != '-' : !is_hex(s[i]))
			return false;
	}
	return true;
}

/* four decimal octets without leading zeros */
static bool
ipv4_valid(const char *s, int len)
{
	int			pos = 0;

	for (int part = 0; part < 4; part++)
	{
		int			start = pos;
		int			value;

		while (pos < len && pos - start < 4 && is_digit(s[pos]))
			pos++;
		if (pos == start || pos - start > 3 ||
			(pos - start > 1 && s[start] == '0'))
			return false;
		value = digits(s + start, pos - start);
		if (value > 255)
			return false;
		if (part < 3 && (pos >= len || s[pos++] != '.'))
			return false;
	}
	return pos == len;
}

/* eight groups, one run of them as "::", the last two perhaps as an ipv4 */
static bool
ipv6_valid(const char *s, int len)
{
	int			groups = 0;
	bool		gap = false;
	int			pos = 0;

	if (len >= 2 && s[0] == ':' && s[1] == ':')
	{
		gap = true;
		pos = 2;
	}
	while (pos < len)
	{
		int			start = pos;

		while (pos < len && pos - start < 5 && is_hex(s[pos]))
			pos++;
		if (pos < len && s[pos] == '.')
		{
			if (!ipv4_valid(s + start, len - start))
				return false;
			groups += 2;
			break;
		}
		if (pos == start || pos - start > 4)
			return false;
		groups++;
		if (pos == len)
			break;
		if (s[pos++] != ':' || pos == len)
			return false;
		if (s[pos] == ':')
		{
			if (gap)
				return false;
			gap = true;
			pos++;
		}
	}
	return gap ? groups < 8 : groups == 8;
}

static bool
hostname_valid(const char *s, int len)
{
	int			label = 0;

	if (len < 1 || len > 253)
		return false;
	for (int i = 0; i < len; i++)
	{
		if (s[i] == '.')
		{
			if (label == 0 || s[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if (!is_alpha(s[i]) && !is_digit(s[i]) && !(s[i] == '-' && label > 0))
			return false;
		if (++label > 63)
			return false;
	}
	return label > 0 && s[len - 1] != '-';
}

static bool
is_atext(char c)
{
	return is_alpha(c) || is_digit(c) ||
		(c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* dot-atom or quoted string; returns its length, 0 if there is none */
static int
email_local_part(const char *s, int len)
{
	int			pos = 0;

	if (len > 0 && s[0] == '"')
	{
		for (pos = 1; pos < len && s[pos] != '"'; pos++)
		{
			if (s[pos] == '\\' && ++pos == len)
				return 0;
			if (s[pos] < 0x20 || s[pos] > 0x7e)
				return 0;
		}
		return pos < len ? pos + 1 : 0;
	}
	while (pos < len && (is_atext(s[pos]) || s[pos] == '.'))
	{
		if (s[pos] == '.' && (pos == 0 || s[pos - 1] == '.'))
			return 0;
		pos++;
	}
	return pos > 0 && s[pos - 1] == '.' ? 0 : pos;
}

static bool
email_valid(const char *s, int len)
{
	int			local = email_local_part(s, len);
	const char *domain;
	int			dlen;

	if (local == 0 || local > 64 || local >= len || s[local] != '@')
		return false;
	domain = s + local + 1;
	dlen = len - local - 1;
	if (dlen > 2 && domain[0] == '[' && domain[dlen - 1] == ']')
	{
		if (dlen > 7 && pg_strncasecmp(domain + 1, "IPv6:", 5) == 0)
			return ipv6_valid(domain + 6, dlen - 7);
		return ipv4_valid(domain + 1, dlen - 2);
	}
	return hostname_valid(domain, dlen);
}

/* every byte legal in a URI, every % followed by two hex digits */
static bool
uri_chars_valid(const char *s, int len, const char *extra)
{
	for (int i = 0; i < len; i++)
	{
		if (s[i] == '%')
		{
			if (i + 2 >= len || !is_hex(s[i + 1]) || !is_hex(s[i + 2]))
				return false;
			i += 2;
		}
		else if (!is_alpha(s[i]) && !is_digit(s[i]) &&
				 (s[i] == '\0' || (strchr("-._~!$&'()*+,;=", s[i]) == NULL &&
								   strchr(extra, s[i]) == NULL)))
			return false;
	}
	return true;
}

/* [userinfo@]host[:port] */
static bool
uri_authority_valid(const char *s, int len)
{
	const char *at = memchr(s, '@', len);
	const char *host = at ? at + 1 : s;
	int			hlen = len - (host - s);
	int			port;

	if (at && !uri_chars_valid(s, at - s, ":"))
		return false;
	if (hlen > 0 && host[0] == '[')
	{
		const char *close = memchr(host, ']', hlen);

		if (close == NULL)
			return false;
		if (host[1] != 'v' && host[1] != 'V' &&
			!ipv6_valid(host + 1, close - host - 1))
			return false;
		port = close - host + 1;
	}
	else
	{
		const char *colon = memchr(host, ':', hlen);

		port = colon ? colon - host : hlen;
		if (!uri_chars_valid(host, port, ""))
			return false;
	}
	if (port < hlen && host[port++] != ':')
		return false;
	for (; port < hlen; port++)
		if (!is_digit(host[port]))
			return false;
	return true;
}

/* scheme ":" hier-part [ "?" query ] [ "#" fragment ] */
static bool
uri_valid(const char *s, int len)
{
	const char *mark;
	int			pos = 0;
	int			end = len;

	if (len < 1 || !is_alpha(s[0]))
		return false;
	while (pos < len && (is_alpha(s[pos]) || is_digit(s[pos]) ||
						 s[pos] == '+' || s[pos] == '-' || s[pos] == '.'))
		pos++;
	if (pos == len || s[pos++] != ':')
		return false;
	if ((mark = memchr(s + pos, '#', end - pos)) != NULL)
	{
		if (!uri_chars_valid(mark + 1, s + end - mark - 1, ":@/?"))
			return false;
		end = mark - s;
	}
	if ((mark = memchr(s + pos, '?', end - pos)) != NULL)
	{
		if (!uri_chars_valid(mark + 1, s + end - mark - 1, ":@/?"))
			return false;
		end = mark - s;
	}
	if (end - pos >= 2 && s[pos] == '/' && s[pos + 1] == '/')
	{
		int			start = pos + 2;

		for (pos = start; pos < end && s[pos] != '/'; pos++)
			;
		if (!uri_authority_valid(s + start, pos - start))
			return false;
	}
	return uri_chars_valid(s + pos, end - pos, ":@/");
}

/* Does s satisfy the format?  EB_FORMAT_NONE accepts everything. */
bool
eb_schema_format_valid(EbFormat format, const char *s, int len)
{
	switch (format)
	{
		case EB_FORMAT_DATE_TIME:
			return date_time_valid(s, len);
		case EB_FORMAT_DATE:
			return date_valid(s, len);
		case EB_FORMAT_TIME:
			return time_valid(s, len);
		case EB_FORMAT_EMAIL:
			return email_valid(s, len);
		case EB_FORMAT_URI:
			return uri_valid(s, len);
		case EB_FORMAT_UUID:
			return uuid_valid(s, len);
		case EB_FORMAT_IPV4:
			return ipv4_valid(s, len);
		case EB_FORMAT_IPV6:
			return ipv6_valid(s, len);
		case EB_FORMAT_HOSTNAME:
			return hostname_valid(s, len);
		case EB_FORMAT_NONE:
			break;
	}
	return true;
}
