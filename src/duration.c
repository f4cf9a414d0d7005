/*
 * duration.c
 *	  Intervals as microseconds.
 */
#include "postgres.h"

#include "datatype/timestamp.h"

#include "duration.h"

#define MAX_DAYS (1000 * 366)

/* See duration.h. */
int64
eb_duration_us(const Interval *interval, const char *argument, int64 min)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64		us;

	if (days > MAX_DAYS || days < -MAX_DAYS ||
		interval->time > MAX_DAYS * USECS_PER_DAY ||
		interval->time < -MAX_DAYS * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range", argument),
				 errhint("Pass a finite interval of less than 1000 years.")));
	us = days * USECS_PER_DAY + interval->time;
	if (us < min)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 min > 0 ? errmsg("%s must be positive", argument) :
				 errmsg("%s must not be negative", argument),
				 errhint("Pass an interval such as '30 s'.")));
	return us;
}
