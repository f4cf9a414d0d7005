/*
 * W3C Trace Context: are these header values well formed?
 */
#ifndef EB_TRACECONTEXT_H
#define EB_TRACECONTEXT_H

extern bool eb_traceparent_valid(const char *s, int len);
extern bool eb_tracestate_valid(const char *s, int len);

#endif							/* EB_TRACECONTEXT_H */
