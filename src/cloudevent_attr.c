/*
 * cloudevent_attr.c
 *		Names and text forms of CloudEvents attributes.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/timestamp.h"

#include "cloudevent_attr.h"

/* attributes that have a meaning of their own, in name order */
static const char *const reserved[] = {
	"causationid", "correlationid", "data", "datacontenttype", "dataschema",
	"ebdeliverat", "ebheaders", "ebpriority", "id", "partitionkey",
	"recordedtime", "sequence", "source", "specversion", "subject", "time",
	"type",
};

bool
eb_cloudevent_attr_name_valid(const char *name)
{
	return *name != '\0' &&
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(name);
}

/* Is this a name that an extension of the same name as a header cannot have? */
bool
eb_cloudevent_attr_reserved(const char *name)
{
	for (int i = 0; i < lengthof(reserved); i++)
		if (strcmp(reserved[i], name) == 0)
			return true;
	return false;
}

static bool
is_base64(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* RFC 4648 with padding */
bool
eb_cloudevent_attr_base64_valid(const char *s, int len)
{
	int			pad = 0;

	if (len % 4 != 0)
		return false;
	while (pad < 2 && pad < len && s[len - 1 - pad] == '=')
		pad++;
	for (int i = 0; i < len - pad; i++)
		if (!is_base64(s[i]))
			return false;
	return true;
}

/* The time inside a UUIDv7 as RFC 3339 in UTC, to the millisecond. */
char *
eb_cloudevent_attr_time(const pg_uuid_t *id)
{
	const int64 epoch_ms = INT64CONST(946684800000);	/* 2000-01-01 */
	int64		ms = 0;
	struct pg_tm tm;
	fsec_t		fsec;

	for (int i = 0; i < 6; i++)
		ms = (ms << 8) | id->data[i];
	if (timestamp2tm((ms - epoch_ms) * 1000, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp in UUID out of range")));
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
					tm.tm_year, tm.tm_mon, tm.tm_mday,
					tm.tm_hour, tm.tm_min, tm.tm_sec, (int) (fsec / 1000));
}
