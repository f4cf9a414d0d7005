/*
 * backoff.h
 *	  When a failed attempt is repeated.
 */
#ifndef EB_BACKOFF_H
#define EB_BACKOFF_H

/*
 * Microseconds from the attempt with number "attempt" (from 1) to the next, at least:
 * min(max, base * 2^(attempt-1)).
 */
extern int64 eb_backoff_delay(int attempt, int64 base, int64 max);

/*
 * By how much a delay is lengthened, at random and at most, so that what failed at
 * the same time does not all come back at the same time.
 */
#define eb_backoff_jitter_max(delay)	((delay) / 5)
extern int64 eb_backoff_jitter(int64 delay);

#endif							/* EB_BACKOFF_H */
