/*
 * uuid7.c
 *	  UUID version 7 (RFC 9562, section 5.7), fraction of the millisecond by method 3.
 *
 * An id is 48 bits of Unix milliseconds, 12 bits of the millisecond's fraction
 * and 62 random bits.  Both time parts together are one counter that only rises
 * within a backend, whatever the clock does: what was emitted later sorts later.
 */
#include "postgres.h"

#include <time.h>

#include "utils/timestamp.h"

#include "uuid7.h"

#define UNIX_TO_PG_USECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define MAX_UNIX_MS			((INT64CONST(1) << 48) - 1)
#define FRACTION_BITS		12
#define NS_PER_MS			INT64CONST(1000000)

/* Random bytes are fetched by the page: a call an id would cost more than the id. */
#define RANDOM_BYTES_PER_ID	8
#define POOL_SIZE			(512 * RANDOM_BYTES_PER_ID)

static uint8 pool[POOL_SIZE];
static int	pool_used = POOL_SIZE;
static uint64 last_tick = 0;

static const uint8 *
random_bytes(void)
{
	const uint8 *bytes;

	if (pool_used == POOL_SIZE)
	{
		if (!pg_strong_random(pool, POOL_SIZE))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		pool_used = 0;
	}
	bytes = pool + pool_used;
	pool_used += RANDOM_BYTES_PER_ID;
	return bytes;
}

/* Milliseconds and their fraction, as one number of 60 bits. */
static uint64
clock_tick(void)
{
	struct timespec now;
	uint64		ms;

	clock_gettime(CLOCK_REALTIME, &now);
	ms = (uint64) now.tv_sec * 1000 + now.tv_nsec / NS_PER_MS;
	return (ms << FRACTION_BITS) |
		(((now.tv_nsec % NS_PER_MS) << FRACTION_BITS) / NS_PER_MS);
}

static void
put_milliseconds(pg_uuid_t *id, uint64 ms)
{
	for (int i = 0; i < 6; i++)
		id->data[i] = (uint8) (ms >> (40 - 8 * i));
}

void
eb_uuid7_generate(pg_uuid_t *id)
{
	const uint8 *bytes = random_bytes();
	uint64		tick = clock_tick();

	if (tick <= last_tick)
		tick = last_tick + 1;
	last_tick = tick;

	put_milliseconds(id, tick >> FRACTION_BITS);
	id->data[6] = 0x70 | ((tick >> 8) & 0x0f);
	id->data[7] = tick & 0xff;
	memcpy(&id->data[8], bytes, RANDOM_BYTES_PER_ID);
	id->data[8] = 0x80 | (id->data[8] & 0x3f);
}

bool
eb_uuid7_is_v7(const pg_uuid_t *id)
{
	return (id->data[6] & 0xf0) == 0x70 && (id->data[8] & 0xc0) == 0x80;
}

TimestampTz
eb_uuid7_time(const pg_uuid_t *id)
{
	int64		ms = 0;

	for (int i = 0; i < 6; i++)
		ms = (ms << 8) | id->data[i];
	return ms * 1000 - UNIX_TO_PG_USECS;
}

/* Times before 1970 and after 10889 give the first and the last millisecond. */
void
eb_uuid7_floor(TimestampTz at, pg_uuid_t *id)
{
	int64		ms = 0;

	if (at >= MAX_UNIX_MS * 1000 - UNIX_TO_PG_USECS)
		ms = MAX_UNIX_MS;
	else if (at > -UNIX_TO_PG_USECS)
		ms = (at + UNIX_TO_PG_USECS) / 1000;
	memset(id, 0, sizeof(*id));
	put_milliseconds(id, ms);
	id->data[6] = 0x70;
	id->data[8] = 0x80;
}
