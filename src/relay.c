/*
 * relay.c
 *	  One pass of the relay: from the log to deliveries.
 */
#include "postgres.h"

#include "relay.h"

void
eb_relay_pass(EbRelayPass *result)
{
}

void
eb_relay_committed(void)
{
}

void
eb_relay_maintain(void)
{
}
