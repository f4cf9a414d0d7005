/*
 * duration.h
 *	  Intervals as microseconds.
 */
#ifndef EB_DURATION_H
#define EB_DURATION_H

#include "utils/timestamp.h"

/*
 * Microseconds of an interval; a month counts 30 days, a day 24 hours.  ereports
 * 22023, naming the argument, for one that is below min or above 1,000 years.
 */
extern int64 eb_duration_us(const Interval *interval, const char *argument, int64 min);

#endif							/* EB_DURATION_H */
