/*
 * uuid7.h
 *	  UUID version 7 (RFC 9562, section 5.7).
 */
#ifndef EB_UUID7_H
#define EB_UUID7_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* A new id; rises strictly within a backend, sub-millisecond part as method 3. */
extern void eb_uuid7_generate(pg_uuid_t *id);
extern bool eb_uuid7_is_v7(const pg_uuid_t *id);

/* The time inside the id, ms precision, in PostgreSQL's epoch. */
extern TimestampTz eb_uuid7_time(const pg_uuid_t *id);

/* The lowest v7 id of that millisecond, as a partition bound. */
extern void eb_uuid7_floor(TimestampTz at, pg_uuid_t *id);

#endif							/* EB_UUID7_H */
