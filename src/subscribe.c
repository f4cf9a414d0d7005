/*
 * subscribe.c
 *	  eb_subscribe and its kin: the SQL side of managing subscriptions.
 *
 * The tables are changed through SPI as the extension's owner; what the caller
 * may do is decided here first.  A subscription begins at the last offset that
 * was reserved when eb_subscribe was called: all that commits later is for it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonpath.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "duration.h"
#include "ephemeral.h"
#include "eventbus.h"
#include "grant.h"
#include "log.h"
#include "queue.h"
#include "subscription.h"

PG_FUNCTION_INFO_V1(eventbus_subscribe);
PG_FUNCTION_INFO_V1(eventbus_unsubscribe);
PG_FUNCTION_INFO_V1(eventbus_pause);
PG_FUNCTION_INFO_V1(eventbus_resume);
PG_FUNCTION_INFO_V1(eventbus_seek);
PG_FUNCTION_INFO_V1(eventbus_lag_policy);
PG_FUNCTION_INFO_V1(eventbus_subscription_changed);

/* Arguments of eb_subscribe. */
enum
{
	ARG_NAME,
	ARG_TOPICS,
	ARG_FILTER,
	ARG_FROM_OFFSET,
	ARG_FROM_TIME,
	ARG_DURABLE,
	ARG_ORDERING,
	ARG_BATCH_SIZE,
	ARG_BATCH_WINDOW,
	ARG_LEASE,
	ARG_MAX_ATTEMPTS,
	ARG_BACKOFF,
	ARG_BACKOFF_MAX,
	ARG_DLQ_REPLAY_AFTER,
	ARG_DLQ_REPLAY_MAX
};

#define BATCH_SIZE_MAX 10000

static void
require_writable(const char *what)
{
	PreventCommandDuringRecovery(what);
	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
}

/* The name argument, checked; errors with 22023. */
static char *
get_name(FunctionCallInfo fcinfo)
{
	char	   *name;
	int			len;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("subscription name must not be null"),
				 errhint("Pass the name of the subscription.")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	len = strlen(name);
	if (len == 0 || len > EB_SUBSCRIPTION_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("subscription name must have 1 to %d bytes, not %d",
						EB_SUBSCRIPTION_NAME_MAX, len),
				 errhint("Choose a shorter name, for example projection.")));
	for (int i = 0; i < len; i++)
		if ((unsigned char) name[i] < ' ' || name[i] == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("subscription name contains a control character"),
					 errhint("Use letters, digits and punctuation.")));
	return name;
}

static void
require_argument(FunctionCallInfo fcinfo, int arg, const char *argument)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", argument),
				 errhint("Leave the argument out to get its default.")));
}

static void
check_interval(FunctionCallInfo fcinfo, int arg, const char *argument, int64 min)
{
	require_argument(fcinfo, arg, argument);
	(void) eb_duration_us(PG_GETARG_INTERVAL_P(arg), argument, min);
}

static void
check_count(FunctionCallInfo fcinfo, int arg, const char *argument, int min, int max)
{
	int32		n;

	require_argument(fcinfo, arg, argument);
	n = PG_GETARG_INT32(arg);
	if (n < min || n > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d, not %d", argument, min, max, n),
				 errhint("Pass a value in that range or leave the argument out.")));
}

static void
check_topics(FunctionCallInfo fcinfo)
{
	int			n;
	const char **patterns;

	require_argument(fcinfo, ARG_TOPICS, "topics");
	patterns = eb_topic_strings(PG_GETARG_ARRAYTYPE_P(ARG_TOPICS), &n);
	(void) eb_topic_compile(n, patterns);
	eb_grant_check_topics(EB_PRIVILEGE_SUBSCRIBE, n, patterns);
}

static void
check_ordering(FunctionCallInfo fcinfo)
{
	char	   *ordering;

	require_argument(fcinfo, ARG_ORDERING, "ordering");
	ordering = text_to_cstring(PG_GETARG_TEXT_PP(ARG_ORDERING));
	if (strcmp(ordering, "none") != 0 && strcmp(ordering, "aggregate") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown ordering \"%s\"", ordering),
				 errhint("Use 'none' or 'aggregate'.")));
}

/*
 * Where to begin, as the last offset that is not wanted.  from_offset and
 * from_time exclude each other; without either it is "from now on".
 */
static int64
start_position(FunctionCallInfo fcinfo, int offset_arg, int time_arg, bool *given)
{
	*given = true;
	if (!PG_ARGISNULL(offset_arg) && !PG_ARGISNULL(time_arg))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an offset and a time exclude each other"),
				 errhint("Pass one of the two.")));
	if (!PG_ARGISNULL(offset_arg))
	{
		int64		offset = PG_GETARG_INT64(offset_arg);

		if (offset < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("offset must not be negative"),
					 errhint("Offsets begin at 1; 0 means from the beginning.")));
		return offset == 0 ? 0 : offset - 1;
	}
	if (!PG_ARGISNULL(time_arg))
		return eb_log_offset_at(PG_GETARG_TIMESTAMPTZ(time_arg)) - 1;
	*given = false;
	return eb_sequencer_next(eb_log_sequencer()) - 1;
}

static void
check_subscribe(FunctionCallInfo fcinfo)
{
	check_topics(fcinfo);
	if (!PG_ARGISNULL(ARG_FILTER))
		(void) eb_filter_compile(PG_GETARG_JSONPATH_P(ARG_FILTER));
	require_argument(fcinfo, ARG_DURABLE, "durable");
	check_ordering(fcinfo);
	check_count(fcinfo, ARG_BATCH_SIZE, "batch_size", 1, BATCH_SIZE_MAX);
	check_interval(fcinfo, ARG_BATCH_WINDOW, "batch_window", 0);
	check_interval(fcinfo, ARG_LEASE, "lease", 1);
	check_count(fcinfo, ARG_MAX_ATTEMPTS, "max_attempts", 1, 1000000);
	check_interval(fcinfo, ARG_BACKOFF, "backoff", 0);
	check_interval(fcinfo, ARG_BACKOFF_MAX, "backoff_max", 0);
	if (!PG_ARGISNULL(ARG_DLQ_REPLAY_AFTER))
		check_interval(fcinfo, ARG_DLQ_REPLAY_AFTER, "dlq_replay_after", 0);
	check_count(fcinfo, ARG_DLQ_REPLAY_MAX, "dlq_replay_max", 0, 1000000);
}

static void
spi_check(int rc, int expected)
{
	if (rc != expected)
		elog(ERROR, "SPI returned %s", SPI_result_code_string(rc));
}

/* The id and owner of a subscription, locked; false if there is none. */
static bool
lock_subscription(const char *name, int32 *id, Oid *owner)
{
	Oid			types[1] = {TEXTOID};
	Datum		args[1];
	bool		isnull;

	args[0] = CStringGetTextDatum(name);
	spi_check(SPI_execute_with_args("SELECT id, owner FROM eventbus.subscription "
									"WHERE name = $1 FOR NO KEY UPDATE",
									1, types, args, NULL, false, 0), SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	*id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return true;
}

pg_noreturn static void
changed_concurrently(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("subscription \"%s\" was changed concurrently", name),
			 errhint("Try again.")));
}

/* For who locked none: there is none, or this transaction's snapshot is older. */
pg_noreturn static void
no_subscription(const char *name)
{
	(void) eb_subscription_by_name(name);
	changed_concurrently(name);
}

static void
require_owner(const char *name, Oid owner, Oid user)
{
	EbSubscription sub = {.name = (char *) name, .owner = owner};

	eb_subscription_check_owner_as(&sub, user);
}

static void
request_seek(int32 id, int64 position, bool clear)
{
	Oid			types[3] = {INT4OID, INT8OID, BOOLOID};
	Datum		args[3] = {Int32GetDatum(id), Int64GetDatum(position), BoolGetDatum(clear)};

	spi_check(SPI_execute_with_args("INSERT INTO eventbus.seek AS s VALUES ($1, $2, $3) "
									"ON CONFLICT (subscription_id) DO UPDATE "
									"SET position = excluded.position, clear = s.clear OR excluded.clear",
									3, types, args, NULL, false, 0), SPI_OK_INSERT);
	eb_relay_wanted();
}

/* Drops what is queued, after whoever is at work on it. */
static void
clear_queue(int32 id)
{
	Oid			types[1] = {INT4OID};
	Datum		args[1] = {Int32GetDatum(id)};
	EbSubscription *sub = eb_subscription_by_id(id);

	if (sub != NULL)
		eb_queue_cleared(sub->shared, id);

	spi_check(SPI_execute_with_args("DELETE FROM eventbus.delivery WHERE subscription_id = $1",
									1, types, args, NULL, false, 0), SPI_OK_DELETE);
}

#define SETTINGS "topics, filter, ordering, batch_size, batch_window, lease, max_attempts, " \
	"backoff, backoff_max, dlq_replay_after, dlq_replay_max"
#define NSETTINGS 11

/* The settings among the arguments, as parameters $1 to $11. */
static void
settings_args(FunctionCallInfo fcinfo, Oid *types, Datum *args, char *nulls)
{
	static const Oid setting_types[NSETTINGS] = {
		TEXTARRAYOID, JSONPATHOID, TEXTOID, INT4OID, INTERVALOID, INTERVALOID, INT4OID,
		INTERVALOID, INTERVALOID, INTERVALOID, INT4OID
	};
	static const int setting_args[NSETTINGS] = {
		ARG_TOPICS, ARG_FILTER, ARG_ORDERING, ARG_BATCH_SIZE, ARG_BATCH_WINDOW, ARG_LEASE,
		ARG_MAX_ATTEMPTS, ARG_BACKOFF, ARG_BACKOFF_MAX, ARG_DLQ_REPLAY_AFTER, ARG_DLQ_REPLAY_MAX
	};

	for (int i = 0; i < NSETTINGS; i++)
	{
		types[i] = setting_types[i];
		args[i] = PG_GETARG_DATUM(setting_args[i]);
		nulls[i] = PG_ARGISNULL(setting_args[i]) ? 'n' : ' ';
	}
}

static void
update_settings(FunctionCallInfo fcinfo, int32 id)
{
	Oid			types[NSETTINGS + 1];
	Datum		args[NSETTINGS + 1];
	char		nulls[NSETTINGS + 1];

	settings_args(fcinfo, types, args, nulls);
	types[NSETTINGS] = INT4OID;
	args[NSETTINGS] = Int32GetDatum(id);
	nulls[NSETTINGS] = ' ';
	spi_check(SPI_execute_with_args("UPDATE eventbus.subscription SET (" SETTINGS ") = "
									"($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) WHERE id = $12",
									NSETTINGS + 1, types, args, nulls, false, 0), SPI_OK_UPDATE);
}

/* Inserts the row and returns true and its id, unless another session was faster. */
static bool
insert_subscription(FunctionCallInfo fcinfo, int64 start, Oid user, int32 *id)
{
	Oid			types[NSETTINGS + 3];
	Datum		args[NSETTINGS + 3];
	char		nulls[NSETTINGS + 3];
	bool		isnull;

	settings_args(fcinfo, types, args, nulls);
	memset(nulls + NSETTINGS, ' ', 3);
	types[NSETTINGS] = TEXTOID;
	args[NSETTINGS] = PG_GETARG_DATUM(ARG_NAME);
	types[NSETTINGS + 1] = REGROLEOID;
	args[NSETTINGS + 1] = ObjectIdGetDatum(user);
	types[NSETTINGS + 2] = INT8OID;
	args[NSETTINGS + 2] = Int64GetDatum(start);
	spi_check(SPI_execute_with_args("INSERT INTO eventbus.subscription (" SETTINGS ", name, owner, start_offset) "
									"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) "
									"ON CONFLICT (name) DO NOTHING RETURNING id",
									NSETTINGS + 3, types, args, nulls, false, 0), SPI_OK_INSERT_RETURNING);
	if (SPI_processed == 0)
		return false;
	*id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return true;
}

static void
refuse_name(const char *name, const char *kind)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("subscription \"%s\" exists and is %s", name, kind),
			 errhint("Choose another name, or drop it with eb_unsubscribe.")));
}

/* eb_subscribe with durable => false. */
static void
subscribe_ephemeral(FunctionCallInfo fcinfo, const char *name)
{
	EbEphemeralSpec spec = {0};
	bool		given = !PG_ARGISNULL(ARG_FROM_OFFSET) || !PG_ARGISNULL(ARG_FROM_TIME);

	PreventCommandIfParallelMode("eb_subscribe");
	if (eb_ephemeral_find(name) == NULL && eb_subscription_if_exists(name) != NULL)
		refuse_name(name, "durable");
	spec.topics = PG_GETARG_ARRAYTYPE_P(ARG_TOPICS);
	spec.filter = PG_ARGISNULL(ARG_FILTER) ? NULL : PG_GETARG_JSONPATH_P(ARG_FILTER);
	spec.ordered = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(ARG_ORDERING)), "aggregate") == 0;
	spec.start = -1;
	if (given)
		spec.start = start_position(fcinfo, ARG_FROM_OFFSET, ARG_FROM_TIME, &given);
	eb_ephemeral_subscribe(name, &spec);
}

/* The session's ephemeral subscription of that name, checked; NULL if none. */
static EbEphemeral *
own_ephemeral(FunctionCallInfo fcinfo)
{
	EbEphemeral *sub;

	(void) eb_shmem_db();
	sub = eb_ephemeral_find(get_name(fcinfo));
	if (sub != NULL)
		eb_ephemeral_check_owner(sub);
	return sub;
}

/*
 * eb_subscribe: makes a subscription, or changes the settings of the one
 * with that name, which keeps its position (eb_seek moves it).
 */
Datum
eventbus_subscribe(PG_FUNCTION_ARGS)
{
	EbOwnerScope scope;
	char	   *name;
	int64		start;
	bool		start_given;
	int32		id;
	Oid			owner;
	Oid			user = GetUserId();

	(void) eb_shmem_db();
	name = get_name(fcinfo);
	check_subscribe(fcinfo);
	if (!PG_GETARG_BOOL(ARG_DURABLE))
	{
		subscribe_ephemeral(fcinfo, name);
		PG_RETURN_VOID();
	}
	require_writable("eb_subscribe");
	if (eb_ephemeral_find(name) != NULL)
		refuse_name(name, "this session's own, and not durable");
	start = start_position(fcinfo, ARG_FROM_OFFSET, ARG_FROM_TIME, &start_given);

	eb_owner_begin(&scope);
	SPI_connect();
	if (!lock_subscription(name, &id, &owner) &&
		insert_subscription(fcinfo, start, user, &id))
		request_seek(id, start, false);
	else if (lock_subscription(name, &id, &owner))
	{
		require_owner(name, owner, user);
		update_settings(fcinfo, id);
	}
	else
		changed_concurrently(name);
	SPI_finish();
	eb_owner_end(&scope);
	(void) eb_subscription_by_name(name);	/* claims its shared slot, or errors */
	PG_RETURN_VOID();
}

/* Runs a statement on the row of a subscription that the caller owns. */
static bool
change_subscription(FunctionCallInfo fcinfo, const char *what, const char *sql, bool missing_ok)
{
	EbOwnerScope scope;
	char	   *name;
	int32		id;
	Oid			owner;
	Oid			user = GetUserId();
	Oid			types[1] = {INT4OID};
	Datum		args[1];

	(void) eb_shmem_db();
	require_writable(what);
	name = get_name(fcinfo);
	eb_owner_begin(&scope);
	SPI_connect();
	if (!lock_subscription(name, &id, &owner))
	{
		if (!missing_ok)
			no_subscription(name);
		SPI_finish();
		eb_owner_end(&scope);
		return false;
	}
	require_owner(name, owner, user);
	args[0] = Int32GetDatum(id);
	if (SPI_execute_with_args(sql, 1, types, args, NULL, false, 0) < 0)
		elog(ERROR, "could not change subscription \"%s\"", name);
	SPI_finish();
	eb_owner_end(&scope);
	return true;
}

/* eb_unsubscribe: drops the subscription and its queue; false if there is none. */
Datum
eventbus_unsubscribe(PG_FUNCTION_ARGS)
{
	EbEphemeral *ephemeral = own_ephemeral(fcinfo);
	EbSubscription *sub;

	if (ephemeral != NULL)
	{
		eb_ephemeral_drop(ephemeral);
		PG_RETURN_BOOL(true);
	}
	(void) eb_shmem_db();
	sub = eb_subscription_if_exists(get_name(fcinfo));
	if (sub != NULL)
		eb_queue_cleared(sub->shared, sub->id);
	PG_RETURN_BOOL(change_subscription(fcinfo, "eb_unsubscribe",
									   "WITH s AS (DELETE FROM eventbus.subscription WHERE id = $1 RETURNING id), "
									   "k AS (DELETE FROM eventbus.seek WHERE subscription_id = $1), "
									   "p AS (DELETE FROM eventbus.privilege WHERE subscription_id = $1) "
									   "DELETE FROM eventbus.delivery WHERE subscription_id = $1",
									   true));
}

/* eb_pause: nothing is handed out until eb_resume; the queue goes on filling. */
Datum
eventbus_pause(PG_FUNCTION_ARGS)
{
	EbEphemeral *ephemeral = own_ephemeral(fcinfo);

	if (ephemeral != NULL)
	{
		ephemeral->paused = true;
		PG_RETURN_VOID();
	}
	(void) change_subscription(fcinfo, "eb_pause",
							   "UPDATE eventbus.subscription SET paused = true WHERE id = $1", false);
	PG_RETURN_VOID();
}

Datum
eventbus_resume(PG_FUNCTION_ARGS)
{
	EbEphemeral *ephemeral = own_ephemeral(fcinfo);

	if (ephemeral != NULL)
	{
		ephemeral->paused = false;
		PG_RETURN_VOID();
	}
	(void) change_subscription(fcinfo, "eb_resume",
							   "UPDATE eventbus.subscription SET paused = false WHERE id = $1", false);
	PG_RETURN_VOID();
}

/* eb_lag_policy: what happens past eventbus.max_retention, see retention.c. */
Datum
eventbus_lag_policy(PG_FUNCTION_ARGS)
{
	static const char *const policies[] = {"keep", "dead_letter", "skip"};
	char	   *policy = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));

	for (int i = 0; policy != NULL && i < lengthof(policies); i++)
		if (strcmp(policy, policies[i]) == 0)
		{
			(void) change_subscription(fcinfo, "eb_lag_policy",
									   psprintf("UPDATE eventbus.subscription SET lag_policy = '%s' WHERE id = $1",
												policies[i]), false);
			PG_RETURN_VOID();
		}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown policy \"%s\"", policy ? policy : "NULL"),
			 errhint("Use 'keep', 'dead_letter' or 'skip'.")));
}

/*
 * eb_seek: drops what is queued and goes on from an offset or a time; returns the
 * first offset that may be delivered.
 */
Datum
eventbus_seek(PG_FUNCTION_ARGS)
{
	EbOwnerScope scope;
	EbEphemeral *ephemeral;
	char	   *name;
	int64		start;
	bool		given;
	int32		id;
	Oid			owner;
	Oid			user = GetUserId();

	ephemeral = own_ephemeral(fcinfo);
	if (ephemeral == NULL)
		require_writable("eb_seek");
	name = get_name(fcinfo);
	given = !PG_ARGISNULL(1) || !PG_ARGISNULL(2);
	if (!given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("eb_seek needs an offset or a time"),
				 errhint("Pass to_offset or to_time.")));
	start = start_position(fcinfo, 1, 2, &given);
	if (ephemeral != NULL)
	{
		eb_ephemeral_seek(ephemeral, start);
		PG_RETURN_INT64(start + 1);
	}

	eb_owner_begin(&scope);
	SPI_connect();
	if (!lock_subscription(name, &id, &owner))
		no_subscription(name);
	require_owner(name, owner, user);
	clear_queue(id);
	request_seek(id, start, true);
	SPI_finish();
	eb_owner_end(&scope);
	PG_RETURN_INT64(start + 1);
}

/* Statement trigger of eventbus.subscription: whoever changes it, all reload. */
Datum
eventbus_subscription_changed(PG_FUNCTION_ARGS)
{
	eb_subscription_changed();
	PG_RETURN_POINTER(NULL);
}
