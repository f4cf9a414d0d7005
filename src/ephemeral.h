/*
 * ephemeral.h
 *	  Subscriptions that live in one session and write nothing.
 */
#ifndef EB_EPHEMERAL_H
#define EB_EPHEMERAL_H

#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/jsonpath.h"
#include "utils/timestamp.h"

#include "filter.h"
#include "topic.h"

/* An event that waits to be fetched. */
typedef struct EbEphemeralEvent
{
	int64		offset;
	TimestampTz due;			/* 0 = at once */
	int16		priority;
} EbEphemeralEvent;

typedef struct EbEphemeral
{
	struct EbEphemeral *next;
	char	   *name;
	Oid			owner;
	Oid			extension;		/* that it was made under */
	MemoryContext context;		/* of itself */
	MemoryContext settings;		/* of topics and filter */
	EbTopics   *topics;
	EbFilter   *filter;			/* NULL = none */
	bool		ordered;		/* by offset alone */
	bool		paused;
	int64		position;		/* every event up to here was looked at */
	int			max_waiting;
	int			nwaiting;
	EbEphemeralEvent *waiting;	/* by rising offset, inside room */
	EbEphemeralEvent *room;		/* for twice max_waiting */
	int64		fetched;
	int64		dropped;		/* because too many waited */
} EbEphemeral;

/* What eb_subscribe was asked for. */
typedef struct EbEphemeralSpec
{
	ArrayType  *topics;
	JsonPath   *filter;			/* NULL = none */
	bool		ordered;
	int64		start;			/* the last offset that is not wanted; -1 = the
								 * latest events are replayed */
} EbEphemeralSpec;

/* This session's, by name; NULL if there is none. */
extern EbEphemeral *eb_ephemeral_find(const char *name);

/* Makes one, or changes the settings of the one with that name. */
extern void eb_ephemeral_subscribe(const char *name, const EbEphemeralSpec *spec);
extern void eb_ephemeral_seek(EbEphemeral *sub, int64 start);
extern void eb_ephemeral_drop(EbEphemeral *sub);

/* All of them: DISCARD ALL. */
extern void eb_ephemeral_drop_all(void);

/* Errors with 42501 unless the current user may use it. */
extern void eb_ephemeral_check_owner(const EbEphemeral *sub);

/* ephemeral_fetch.c: eb_fetch on one of them */
extern void eb_ephemeral_fetch(ReturnSetInfo *rsinfo, EbEphemeral *sub, int max_events,
							   int64 wait_us);

/* ephemeral_read.c: bringing the waiting events up to date */
extern int64 eb_ephemeral_replay_start(const EbEphemeral *sub, int64 safe, int n, Snapshot snapshot);
extern void eb_ephemeral_gather(EbEphemeral *sub, int64 safe, Snapshot snapshot);

#endif							/* EB_EPHEMERAL_H */
