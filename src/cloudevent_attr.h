/*
 * What reading and writing CloudEvents share: names and text forms.
 */
#ifndef EB_CLOUDEVENT_ATTR_H
#define EB_CLOUDEVENT_ATTR_H

#include "utils/uuid.h"

/* headers that hold a CloudEvents attribute as it came in */
#define EB_CE_PREFIX		"ce-"
#define EB_CE_JSON_PREFIX	"ce-json-"

extern bool eb_cloudevent_attr_name_valid(const char *name);
extern bool eb_cloudevent_attr_reserved(const char *name);
extern bool eb_cloudevent_attr_base64_valid(const char *s, int len);
extern char *eb_cloudevent_attr_time(const pg_uuid_t *id);

#endif							/* EB_CLOUDEVENT_ATTR_H */
