/*
 * hold.h
 *	  Hold points: places where a test can stop a session.
 */
#ifndef EB_HOLD_H
#define EB_HOLD_H

/* The advisory lock that a test takes before it sets eventbus.debug_hold. */
#define EB_HOLD_LOCK		7431

extern void eb_hold(const char *point);

#endif							/* EB_HOLD_H */
