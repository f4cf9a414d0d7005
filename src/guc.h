/*
 * guc.h
 *	  The settings under eventbus.*; each variable is documented in guc.c.
 */
#ifndef EB_GUC_H
#define EB_GUC_H

typedef enum EbOnDuplicate
{
	EB_DUPLICATE_SKIP,
	EB_DUPLICATE_ERROR
} EbOnDuplicate;

typedef enum EbUnknownTypes
{
	EB_UNKNOWN_ALLOW,
	EB_UNKNOWN_REJECT
} EbUnknownTypes;

typedef enum EbRetentionAction
{
	EB_RETENTION_DROP,
	EB_RETENTION_DETACH
} EbRetentionAction;

extern int	eb_outbox_memory;	/* kB */
extern char *eb_correlation_id;
extern char *eb_causation_id;
extern char *eb_traceparent;
extern char *eb_tracestate;
extern int	eb_on_duplicate;	/* EbOnDuplicate */
extern int	eb_dedup_window;	/* s */
extern int	eb_unknown_types;	/* EbUnknownTypes */
extern bool eb_assert_formats;
extern int	eb_max_wait;		/* ms */
extern int	eb_segment_events;
extern bool eb_relay_enabled;
extern int	eb_relay_pace;		/* ms */
extern int	eb_relay_pass_events;
extern bool eb_relay_notify;
extern int	eb_queue_rotate_size;	/* kB */
extern int	eb_queue_truncate_delay;	/* ms */
extern int	eb_max_databases;
extern int	eb_max_subscriptions;
extern int	eb_ephemeral_replay;
extern int	eb_ephemeral_queue;
extern int	eb_retention;		/* s */
extern int	eb_retention_size;	/* MB */
extern int	eb_max_retention;	/* s */
extern int	eb_retention_action;	/* EbRetentionAction */
extern char *eb_debug_hold;

extern void eb_guc_init(void);

#endif							/* EB_GUC_H */
