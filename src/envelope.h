/*
 * envelope.h
 *	  One event on its way into the outbox, built from arguments or from JSON.
 */
#ifndef EB_ENVELOPE_H
#define EB_ENVELOPE_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "log.h"

#define EB_AGGREGATE_ID_MAX	1024	/* bytes */

/* What the caller gave; a NULL pointer is an absent value. */
typedef struct EbEnvelope
{
	struct varlena *type;		/* text */
	Jsonb	   *payload;
	struct varlena *aggregate_id;	/* text */
	pg_uuid_t  *event_id;
	pg_uuid_t  *correlation_id;
	pg_uuid_t  *causation_id;
	Jsonb	   *headers;
	int			priority;
	bool		has_deliver_at;
	TimestampTz deliver_at;
} EbEnvelope;

/* A checked event as a row of the log, and the ids that its datums point to. */
typedef struct EbEnvelopeRow
{
	pg_uuid_t	event_id;
	pg_uuid_t	correlation_id;
	pg_uuid_t	causation_id;
	bool		generated;		/* the event id is ours */
	Datum		values[EB_LOG_NATTS];
	bool		nulls[EB_LOG_NATTS];
} EbEnvelopeRow;

/*
 * Reads an envelope object (or a CloudEvent), which comes as the jbvBinary that an
 * iterator makes of nested values; anything else is refused.  22023 or 22P02.
 */
extern void eb_envelope_from_json(JsonbValue *json, EbEnvelope *envelope);

/* Checks everything but duplication, and fills in what is inherited. */
extern void eb_envelope_form(const EbEnvelope *envelope, EbEnvelopeRow *row);

#endif							/* EB_ENVELOPE_H */
