/*
 * ready.c
 *	  Whether a relay may touch this database yet.
 *
 * CREATE EXTENSION may be the first line of a dump that is being restored.  A
 * relay that made segments then would collide with those of the dump, and one
 * that read the log before all of it is there would start the counter too low.
 * So it waits for the first segment, which an emitter makes, or the dump; and
 * while a segment has no indexes: pg_dump puts them after all data, whereas we
 * attach no partition without.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "utils/rel.h"

#include "catalog.h"
#include "ready.h"

/* A segment's indexes: by offset and by event id; a partition's of ids: its key. */
#define EVENT_INDEXES	2
#define DEDUP_INDEXES	1

/* True if all partitions have their indexes; adds their number to *count. */
static bool
is_complete(Oid parent, int indexes, int *count)
{
	ListCell   *lc;

	foreach(lc, find_inheritance_children(parent, AccessShareLock))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);
		int			n = list_length(RelationGetIndexList(rel));

		table_close(rel, NoLock);
		if (n < indexes)
			return false;
		(*count)++;
	}
	return true;
}

/* Once true it stays so until the extension is dropped. */
bool
eb_ready(void)
{
	static Oid	ready_for = InvalidOid;
	const EbCatalog *c = eb_catalog();
	int			partitions = 0;

	if (ready_for == c->extension)
		return true;
	if (!is_complete(c->event, EVENT_INDEXES, &partitions) ||
		!is_complete(c->dedup, DEDUP_INDEXES, &partitions) ||
		!is_complete(c->once, DEDUP_INDEXES, &partitions) || partitions == 0)
		return false;
	ready_for = c->extension;
	return true;
}
