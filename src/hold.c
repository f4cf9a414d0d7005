/*
 * hold.c
 *	  Hold points: places where a test can stop a session.
 *
 * A session whose eventbus.debug_hold names the point waits there for an
 * advisory lock, so that the isolation tester sees it blocked by whoever has it.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "fault.h"
#include "guc.h"
#include "hold.h"

void
eb_hold(const char *point)
{
	eb_fault_point(point);
	if (likely(eb_debug_hold == NULL || eb_debug_hold[0] == '\0') ||
		strcmp(eb_debug_hold, point) != 0)
		return;
	DirectFunctionCall1(pg_advisory_lock_int8, Int64GetDatum(EB_HOLD_LOCK));
	DirectFunctionCall1(pg_advisory_unlock_int8, Int64GetDatum(EB_HOLD_LOCK));
}
