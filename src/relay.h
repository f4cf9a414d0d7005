/*
 * relay.h
 *	  One pass of the relay: from the log to deliveries.
 */
#ifndef EB_RELAY_H
#define EB_RELAY_H

#include "datatype/timestamp.h"

typedef struct EbRelayPass
{
	int64		position;		/* every event up to here is routed */
	int64		routed;			/* events seen in this pass */
	bool		more;			/* there is more to do right away */
	TimestampTz next_wanted;	/* a pass is due then even without a commit; 0 =
								 * no need */
} EbRelayPass;

/*
 * One bounded pass in the current transaction: routes committed events to
 * deliveries.  Errors propagate.
 */
extern void eb_relay_pass(EbRelayPass *result);

/*
 * After the pass' transaction has committed: publishes the position and wakes
 * the waiting consumers.
 */
extern void eb_relay_committed(void);

/*
 * Housekeeping about once a second, in the current transaction: segments ahead,
 * dedup partitions, orphaned deliveries.
 */
extern void eb_relay_maintain(void);

#endif							/* EB_RELAY_H */
