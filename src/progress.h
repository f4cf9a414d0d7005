/*
 * progress.h
 *	  eventbus.progress and eventbus.seek: how far the relay has come.
 */
#ifndef EB_PROGRESS_H
#define EB_PROGRESS_H

#include "nodes/pg_list.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "shmem.h"

/* Columns of eventbus.progress. */
enum
{
	EB_PROGRESS_POSITION = 1,
	EB_PROGRESS_PASS,
	EB_PROGRESS_AT,
	EB_PROGRESS_CURSORS,
	EB_PROGRESS_STORE,
	EB_PROGRESS_NATTS = EB_PROGRESS_STORE
};

/* A subscription that does not go with the others. */
typedef struct EbCursor
{
	int32		subscription_id;
	int64		position;
	bool		clear;			/* of a seek: drop what is queued first */
} EbCursor;

typedef struct EbProgress
{
	int64		pass;			/* counts the rows */
	int64		position;
	TimestampTz at;				/* 0 = no row yet */
	List	   *cursors;		/* of EbCursor */
	int			store;			/* where the row is, if it was read */
} EbProgress;

extern void eb_progress_read(EbProgress *progress, Snapshot snapshot);
extern void eb_progress_write(const EbProgress *progress);
extern void eb_progress_rotate(EbDb *db);
extern List *eb_progress_seeks(Snapshot snapshot);

/*
 * Takes the seek requests of subscriptions that are "known"; *left tells whether
 * there are others.
 */
extern List *eb_progress_take_seeks(Snapshot snapshot, bool (*known) (void *arg, int32 id),
									void *arg, bool *left);

#endif							/* EB_PROGRESS_H */
