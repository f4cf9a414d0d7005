/*
 * ephemeral.c
 *	  Subscriptions that live in one session and write nothing.
 *
 * Such a subscription is a position in the log, in this process's memory, and the
 * newest events past it that match and have not been fetched.  It is no part of a
 * transaction: a rollback does not take back what was subscribed or fetched.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "ephemeral.h"
#include "guc.h"
#include "log.h"

PG_FUNCTION_INFO_V1(eventbus_stat_ephemeral);

#define STAT_COLS	6

static EbEphemeral *subscriptions = NULL;

/* Drops those of an extension that was dropped meanwhile. */
static void
drop_stale(void)
{
	EbEphemeral *next;

	for (EbEphemeral *sub = subscriptions; sub != NULL; sub = next)
	{
		next = sub->next;
		if (sub->extension != eb_catalog()->extension)
			eb_ephemeral_drop(sub);
	}
}

EbEphemeral *
eb_ephemeral_find(const char *name)
{
	if (subscriptions == NULL)
		return NULL;
	drop_stale();
	for (EbEphemeral *sub = subscriptions; sub != NULL; sub = sub->next)
		if (strcmp(sub->name, name) == 0)
			return sub;
	return NULL;
}

void
eb_ephemeral_drop(EbEphemeral *sub)
{
	for (EbEphemeral **link = &subscriptions; *link != NULL; link = &(*link)->next)
	{
		if (*link == sub)
		{
			*link = sub->next;
			break;
		}
	}
	MemoryContextDelete(sub->context);
}

void
eb_ephemeral_drop_all(void)
{
	while (subscriptions != NULL)
		eb_ephemeral_drop(subscriptions);
}

void
eb_ephemeral_check_owner(const EbEphemeral *sub)
{
	if (!has_privs_of_role(GetUserId(), sub->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for subscription \"%s\"", sub->name),
				 errhint("Another role made it in this session; become a member of that role.")));
}

/* Compiles first and replaces second, so that an error leaves what was. */
static void
set_settings(EbEphemeral *sub, const EbEphemeralSpec *spec)
{
	MemoryContext fresh = AllocSetContextCreate(CurrentMemoryContext, "eventbus settings",
												ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(fresh);
	EbTopics   *topics = eb_topic_compile_array(spec->topics);
	EbFilter   *filter = spec->filter ? eb_filter_compile(spec->filter) : NULL;

	MemoryContextSwitchTo(old);
	MemoryContextSetParent(fresh, sub->context);
	if (sub->settings != NULL)
		MemoryContextDelete(sub->settings);
	sub->settings = fresh;
	sub->topics = topics;
	sub->filter = filter;
	sub->ordered = spec->ordered;
}

/* A new one, in the current memory context and in no list yet. */
static EbEphemeral *
create(const char *name, const EbEphemeralSpec *spec)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventbus subscription",
												  ALLOCSET_SMALL_SIZES);
	EbEphemeral *sub = MemoryContextAllocZero(context, sizeof(EbEphemeral));
	Snapshot	snapshot;
	int64		safe;

	sub->context = context;
	sub->name = MemoryContextStrdup(context, name);
	sub->owner = GetUserId();
	sub->extension = eb_catalog()->extension;
	sub->max_waiting = eb_ephemeral_queue;
	sub->room = MemoryContextAllocHuge(context,
									   2 * sub->max_waiting * sizeof(EbEphemeralEvent));
	sub->waiting = sub->room;
	set_settings(sub, spec);
	sub->position = spec->start;
	if (spec->start < 0)
	{
		safe = eb_log_safe_snapshot(&snapshot);
		sub->position = eb_ephemeral_replay_start(sub, safe, eb_ephemeral_replay, snapshot);
		UnregisterSnapshot(snapshot);
	}
	return sub;
}

void
eb_ephemeral_subscribe(const char *name, const EbEphemeralSpec *spec)
{
	EbEphemeral *sub = eb_ephemeral_find(name);

	if (sub != NULL)
	{
		eb_ephemeral_check_owner(sub);
		set_settings(sub, spec);
		return;
	}
	sub = create(name, spec);
	MemoryContextSetParent(sub->context, TopMemoryContext);
	sub->next = subscriptions;
	subscriptions = sub;
}

/* Forgets what waits and goes on behind start. */
void
eb_ephemeral_seek(EbEphemeral *sub, int64 start)
{
	sub->nwaiting = 0;
	sub->position = start;
}

/* eb_stat_ephemeral(): name, state, waiting, fetched, dropped, position */
Datum
eventbus_stat_ephemeral(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (subscriptions != NULL)
		drop_stale();
	for (EbEphemeral *sub = subscriptions; sub != NULL; sub = sub->next)
	{
		Datum		values[STAT_COLS];
		bool		nulls[STAT_COLS] = {0};

		values[0] = CStringGetTextDatum(sub->name);
		values[1] = CStringGetTextDatum(sub->paused ? "paused" : "active");
		values[2] = Int32GetDatum(sub->nwaiting);
		values[3] = Int64GetDatum(sub->fetched);
		values[4] = Int64GetDatum(sub->dropped);
		values[5] = Int64GetDatum(sub->position);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
