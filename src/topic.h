/*
 * topic.h
 *	  Event types and topic patterns (NATS syntax: * one token, > one or more).
 */
#ifndef EB_TOPIC_H
#define EB_TOPIC_H

#include "utils/array.h"

typedef struct EbTopics EbTopics;

/* True if s is a well-formed event type; a lone reason (static string) if not. */
extern bool eb_topic_type_valid(const char *s, int len, const char **reason);

/* ereports 22023 if not well-formed. */
extern void eb_topic_check_type(const char *s, int len);

/*
 * Compiles patterns, each optionally with a leading "!" that excludes, into one
 * chunk of the current memory context; ereports 22023 for a bad one, NULL or
 * an empty list.
 */
extern EbTopics *eb_topic_compile(int n, const char *const *patterns);

/* The elements of a text[], palloc'd; NULL for a NULL. */
extern const char **eb_topic_strings(ArrayType *patterns, int *n);

/* eb_topic_compile for a text[]. */
extern EbTopics *eb_topic_compile_array(ArrayType *patterns);

/* Any including pattern matches and no excluding one does. */
extern bool eb_topic_match(const EbTopics *topics, const char *type, int len);

/* Of one pattern without "!": matches; and how specific it is (more = more). */
extern bool eb_topic_match_one(const char *pattern, const char *type, int len);
/* Every type that the second pattern matches, the first matches; both without "!". */
extern bool eb_topic_covers(const char *wider, const char *narrower);
extern int	eb_topic_specificity(const char *pattern);

#endif							/* EB_TOPIC_H */
