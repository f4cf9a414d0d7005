/*
 * request.h
 *	  What events inherit from the session's settings: correlation and trace.
 */
#ifndef EB_REQUEST_H
#define EB_REQUEST_H

#include "utils/jsonb.h"
#include "utils/uuid.h"

/* The setting's uuid into *id; false if it is empty, 22023 if it is malformed. */
extern bool eb_request_correlation(pg_uuid_t *id);
extern bool eb_request_causation(pg_uuid_t *id);

/*
 * The headers of an event: the caller's (NULL = none), which must be an object of
 * strings, with the trace context of the settings where they lack one and without
 * one that is invalid.  NULL if there are none.
 */
extern Jsonb *eb_request_headers(Jsonb *given);

#endif							/* EB_REQUEST_H */
