/*
 * backoff.c
 *	  When a failed attempt is repeated.
 */
#include "postgres.h"

#include "common/pg_prng.h"

#include "backoff.h"

/* See backoff.h. */
int64
eb_backoff_delay(int attempt, int64 base, int64 max)
{
	int64		delay = Min(base, max);

	Assert(attempt >= 1 && base >= 0 && max >= 0);
	for (int i = 1; i < attempt && delay < max && delay > 0; i++)
		delay = (delay > max / 2) ? max : delay * 2;
	return delay;
}

/* See backoff.h. */
int64
eb_backoff_jitter(int64 delay)
{
	return (int64) (eb_backoff_jitter_max(delay) * pg_prng_double(&pg_global_prng_state));
}
