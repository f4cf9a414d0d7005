/*
 * dlq.h
 *	  Selecting dead letters, and putting them back.
 */
#ifndef EB_DLQ_H
#define EB_DLQ_H

#include "utils/array.h"
#include "utils/timestamp.h"

/* dead_letter.source of the bus's own events. */
#define EB_DLQ_SOURCE	"eventbus"

/* Which letters; NULL or 0 = any. */
typedef struct EbDlqSelection
{
	ArrayType  *ids;			/* bigint[] */
	const char *subscription;
	const char *source;
	const char *reason;
	const char *type;
	TimestampTz dead_before;
	int			max_rows;
	bool		dry_run;
	bool		due_only;		/* replay_at is over; by the relay */
} EbDlqSelection;

extern int64 eb_dlq_replay_selected(const EbDlqSelection *selection);

#endif							/* EB_DLQ_H */
