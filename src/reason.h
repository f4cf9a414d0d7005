/*
 * reason.h
 *	  Why a delivery failed, and the record of its attempts.
 */
#ifndef EB_REASON_H
#define EB_REASON_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define EB_REASON_FAILED	"DeliveryFailed"
#define EB_REASON_TIMEOUT	"HandlerTimeout"
#define EB_REASON_RETRIES	"MaxRetries"

/* The label of an eb_reason value, palloc'd. */
extern char *eb_reason_label(Oid value);

/* The eb_reason value of a label; eb_reason is found in the API schema. */
extern Oid	eb_reason_value(const char *label);

extern bool eb_reason_retryable(const char *label);

/* One failed attempt, for history. */
typedef struct EbFailure
{
	int			attempt;
	TimestampTz at;
	const char *consumer;		/* NULL = unknown */
	const char *reason;
	const char *error;			/* NULL = none given */
} EbFailure;

/*
 * history (NULL = none yet) with a failure appended, in the current context.  It
 * keeps the first and the latest attempts; between them it is cut when long.
 */
extern Jsonb *eb_history_append(Jsonb *history, const EbFailure *failure);

#endif							/* EB_REASON_H */
