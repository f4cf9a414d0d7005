/*
 * CloudEvents 1.0 (JSON format) in: an object with "specversion" becomes an
 * envelope object as eb_emit(jsonb) reads it.  eb_cloudevent() is the way out.
 */
#ifndef EB_CLOUDEVENT_H
#define EB_CLOUDEVENT_H

#include "utils/jsonb.h"

/*
 * Returns an object with the keys type, payload and, where the CloudEvent
 * tells them, aggregate_id, event_id, correlation_id, causation_id, headers,
 * priority, deliver_at.  Attributes with no place in the envelope go to
 * headers (docs/contracts.md lists the keys).  Malformed: ereports 22023.
 */
extern Jsonb *eb_cloudevent_to_envelope(Jsonb *obj);

#endif							/* EB_CLOUDEVENT_H */
