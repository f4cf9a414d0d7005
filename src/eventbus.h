/*
 * eventbus.h
 *	  Vocabulary that every layer shares: limits and names, nothing else.
 */
#ifndef EVENTBUS_H
#define EVENTBUS_H

/* The schema of the tables; functions live where CREATE EXTENSION put them. */
#define EB_SCHEMA			"eventbus"
#define EB_EXTENSION		"eventbus"

/* An event type: 2 to 16 tokens of [a-z0-9_-]+, under 256 bytes. */
#define EB_TYPE_MAX_LEN		255
#define EB_TYPE_MIN_TOKENS	2
#define EB_TYPE_MAX_TOKENS	16

#define EB_PRIORITY_MAX		9

/*
 * A subscription's name also names its NOTIFY channel, "eventbus_" + name,
 * which must fit an identifier.
 */
#define EB_CHANNEL_PREFIX	"eventbus_"
#define EB_SUBSCRIPTION_NAME_MAX	(NAMEDATALEN - (int) sizeof(EB_CHANNEL_PREFIX))

/* Tables that the queue is stored in, by turns; the last of progress is not in turn. */
#define EB_STORES			3
#define EB_PROGRESS_KEPT	(EB_STORES - 1)

#define EB_NO_OFFSET		INT64CONST(0)	/* offsets begin at 1 */

#endif							/* EVENTBUS_H */
