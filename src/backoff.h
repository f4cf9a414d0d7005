/*
 * backoff.h
 *	  When a failed attempt is repeated.
 */
#ifndef EB_BACKOFF_H
#define EB_BACKOFF_H

/*
 * Microseconds until the attempt after number "attempt" (from 1):
 * min(max, base * 2^(attempt-1)), lengthened by up to 20 % at random so that
 * what failed together does not come back together.
 */
extern int64 eb_backoff_delay(int attempt, int64 base, int64 max);

#endif							/* EB_BACKOFF_H */
