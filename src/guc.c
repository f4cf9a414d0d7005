/*
 * guc.c
 *	  The settings under eventbus.*, each with its unit and its description.
 *
 * The prefix is reserved, so that a misspelt setting is an error instead of a
 * silent no-op.  What weakens a guarantee for everybody (contracts, dedup) is
 * not for an ordinary user to change.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "fault.h"
#include "guc.h"

int			eb_outbox_memory;
char	   *eb_correlation_id;
char	   *eb_causation_id;
char	   *eb_traceparent;
char	   *eb_tracestate;
int			eb_on_duplicate;
int			eb_dedup_window;
int			eb_unknown_types;
bool		eb_assert_formats;
int			eb_max_wait;
int			eb_segment_events;
bool		eb_relay_enabled;
int			eb_relay_pace;
int			eb_relay_pass_events;
bool		eb_relay_notify;
int			eb_queue_rotate_size;
int			eb_queue_truncate_delay;
int			eb_max_databases;
int			eb_max_subscriptions;
int			eb_ephemeral_replay;
int			eb_ephemeral_queue;
int			eb_retention;
int			eb_retention_size;
int			eb_max_retention;
int			eb_retention_action;
char	   *eb_debug_hold;
#ifdef EB_FAULTS
char	   *eb_fault;
#endif

static const struct config_enum_entry on_duplicate_options[] = {
	{"skip", EB_DUPLICATE_SKIP, false},
	{"error", EB_DUPLICATE_ERROR, false},
	{NULL, 0, false}
};

static const struct config_enum_entry unknown_types_options[] = {
	{"allow", EB_UNKNOWN_ALLOW, false},
	{"reject", EB_UNKNOWN_REJECT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry retention_action_options[] = {
	{"drop", EB_RETENTION_DROP, false},
	{"detach", EB_RETENTION_DETACH, false},
	{NULL, 0, false}
};

/* Settings of the emitting side. */
static void
define_emit(void)
{
	DefineCustomIntVariable("eventbus.outbox_memory",
							"Memory for the events of one transaction before they spill to a temporary file.",
							NULL, &eb_outbox_memory, 64 * 1024, 64, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomStringVariable("eventbus.correlation_id",
							   "Correlation id (uuid) of the events that do not name one.",
							   NULL, &eb_correlation_id, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventbus.causation_id",
							   "Causation id (uuid) of the events that do not name one.",
							   NULL, &eb_causation_id, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventbus.traceparent",
							   "W3C traceparent of the events whose headers do not carry one.",
							   "An invalid value is ignored, as W3C Trace Context demands.",
							   &eb_traceparent, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventbus.tracestate",
							   "W3C tracestate that goes with eventbus.traceparent.",
							   NULL, &eb_tracestate, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("eventbus.on_duplicate",
							 "What eb_emit does with an event_id that was emitted before: skip or error.",
							 NULL, &eb_on_duplicate, EB_DUPLICATE_SKIP, on_duplicate_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.dedup_window",
							"How long a caller's event_id is remembered.",
							NULL, &eb_dedup_window, 24 * 3600, 60, 366 * 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomEnumVariable("eventbus.unknown_types",
							 "Whether an event type without a contract may be emitted: allow or reject.",
							 NULL, &eb_unknown_types, EB_UNKNOWN_ALLOW, unknown_types_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("eventbus.assert_formats",
							 "Makes the JSON Schema keyword \"format\" an assertion instead of an annotation.",
							 NULL, &eb_assert_formats, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
}

/* Settings of the consuming side. */
static void
define_consume(void)
{
	DefineCustomIntVariable("eventbus.max_wait",
							"The longest time eb_fetch and eb_await may wait.",
							"A waiting call holds its statement's snapshot and so the xmin horizon.",
							&eb_max_wait, 60 * 1000, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.ephemeral_replay",
							"Matching events that a new non-durable subscription starts with.",
							NULL, &eb_ephemeral_replay, 16, 0, 1000000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.ephemeral_queue",
							"Events that a non-durable subscription keeps waiting; older ones are dropped.",
							NULL, &eb_ephemeral_queue, 256, 1, 1000000,
							PGC_USERSET, 0, NULL, NULL, NULL);
}

/* Settings of the log and the relay. */
static void
define_relay(void)
{
	DefineCustomIntVariable("eventbus.segment_events",
							"Offsets in one segment of the log; applies to segments not yet made.",
							NULL, &eb_segment_events, 2000000, 100, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("eventbus.relay",
							 "Runs a relay for every database that has the extension.",
							 "When off, eb_relay_run() makes one pass in the calling session.",
							 &eb_relay_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.relay_pace",
							"The least time between the starts of two passes of a busy relay.",
							NULL, &eb_relay_pace, 1, 0, 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.relay_pass_events",
							"The most events that one pass of the relay reads.",
							NULL, &eb_relay_pass_events, 20000, 1, INT_MAX / 2,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("eventbus.notify",
							 "Makes the relay NOTIFY channel eventbus_<subscription> of new deliveries.",
							 NULL, &eb_relay_notify, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* Where the queue is stored. */
static void
define_queue(void)
{
	DefineCustomIntVariable("eventbus.queue_rotate_size",
							"Size of a store of the queue, with its indexes, above which an empty one takes its place.",
							"What dead rows take is given back by truncating, whoever holds back vacuum.  0 never changes stores.",
							&eb_queue_rotate_size, 16 * 1024, 0, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.queue_truncate_delay",
							"How long a store of the queue that is empty is kept for older snapshots.",
							"A transaction that has not read the queue by then, pg_dump for one, finds that store empty.",
							&eb_queue_truncate_delay, 30 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* How long the log is kept. */
static void
define_retention(void)
{
	DefineCustomIntVariable("eventbus.retention",
							"How long a segment of the log is kept after every subscription has settled it.",
							"Counted from when its last event was routed.  0 keeps the log for good.",
							&eb_retention, 7 * 24 * 3600, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.retention_size",
							"Size of the log above which settled segments go before their time.",
							"0 sets no bound.",
							&eb_retention_size, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.max_retention",
							"How long a subscription that does not settle its events may keep the log.",
							"Then eb_health() fails, or the subscription is cut off, as eb_lag_policy() says.  0 sets no bound.",
							&eb_max_retention, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomEnumVariable("eventbus.retention_action",
							 "What becomes of a segment that need not be kept: drop, or detach to schema eventbus_archive.",
							 NULL, &eb_retention_action, EB_RETENTION_DROP, retention_action_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* What sizes shared memory, and cannot be defined once the server runs. */
static void
define_sizes(void)
{
	DefineCustomIntVariable("eventbus.max_databases",
							"Databases of the cluster that can have the extension; sizes shared memory.",
							NULL, &eb_max_databases, 64, 1, 10000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eventbus.max_subscriptions",
							"Durable subscriptions in all databases of the cluster; sizes shared memory.",
							NULL, &eb_max_subscriptions, 1024, 1, 100000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

void
eb_guc_init(void)
{
	define_emit();
	define_consume();
	define_relay();
	define_queue();
	define_retention();
	if (process_shared_preload_libraries_in_progress)
		define_sizes();
	DefineCustomStringVariable("eventbus.debug_hold",
							   "Name of a hold point at which this session waits for advisory lock 7431; for tests.",
							   NULL, &eb_debug_hold, "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, NULL, NULL);
#ifdef EB_FAULTS
	DefineCustomStringVariable("eventbus.fault",
							   "Name of the seeded bug that is active; for tests.",
							   NULL, &eb_fault, "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, NULL, NULL);
#endif
	MarkGUCPrefixReserved("eventbus");
}
