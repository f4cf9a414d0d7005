/*
 * relay.h
 *	  From the log to the queue: one bounded pass.
 */
#ifndef EB_RELAY_H
#define EB_RELAY_H

#include "datatype/timestamp.h"

typedef struct EbRelayPass
{
	int64		position;		/* every event up to here is routed */
	int64		routed;			/* events put into deliveries by this pass */
	bool		more;			/* there is more to do right away */
	uint32		requests;		/* EbDb.relay_requests, before this pass */
	TimestampTz next_wanted;	/* run again by then even without a commit; 0 =
								 * no such time */
} EbRelayPass;

/*
 * Routes committed events to deliveries, in the current transaction.  Passes of
 * all sessions exclude each other until the end of their transactions.
 */
extern void eb_relay_pass(EbRelayPass *result);

/* After the pass's transaction has committed: publish and wake consumers. */
extern void eb_relay_committed(void);

/*
 * Passes exclude each other until the end of their transactions, and so does what
 * changes the rings of stores.  A relay does not wait for a session that holds the
 * lock, and gets false; eb_relay_run() does.
 */
extern bool eb_relay_lock(void);

/*
 * Housekeeping of the stores about once a second, in a transaction that has done
 * nothing else; with one that has it leaves alone what that has touched.
 */
extern void eb_relay_rotate(void);

/*
 * Housekeeping about once a second, in the current transaction: segments ahead,
 * dedup partitions, orphaned deliveries, leases and dead letters that are due.
 */
extern void eb_relay_maintain(void);

#endif							/* EB_RELAY_H */
