/*
 * partition.c
 *	  Range partitions of one of our tables: list them, make one.
 *
 * Partitions are made at run time, so they are no extension members: pg_dump
 * saves them with their rows, and DROP EXTENSION reaches them as parts of their
 * parent.  A new one is built apart and then attached, because attaching takes
 * a lock on the parent that readers and writers do not notice.
 *
 * Indexes belong to the partitions alone.  Were they the parent's, which is there
 * before anything is restored, attaching a restored partition would make them, and
 * those in the dump would come second.
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "eventbus.h"
#include "partition.h"

/*
 * The server may keep a partition descriptor that lacks the newest partition: when
 * the news of it arrives while the descriptor is being built, the old list is
 * stored after the news was taken note of.  So it is always built anew here; and a
 * caller that keeps the list has to read again if news came meanwhile.
 *
 * The parent's lock is given back at once: it guards the reading of the bounds,
 * and who uses a partition locks that.  So making and dropping partitions does not
 * wait for transactions that merely use some of them.
 */
EbPartition *
eb_partition_list(Oid parent, int *n)
{
	Relation	rel;
	PartitionKey key;
	PartitionDesc desc;
	PartitionBoundInfo bounds;
	bool		byval;
	int			len;
	EbPartition *list;

	RelationCacheInvalidateEntry(parent);
	rel = table_open(parent, AccessShareLock);
	key = RelationGetPartitionKey(rel);
	byval = key->parttypbyval[0];
	len = key->parttyplen[0];
	desc = RelationGetPartitionDesc(rel, true);
	bounds = desc->boundinfo;
	list = palloc(sizeof(EbPartition) * Max(desc->nparts, 1));
	*n = 0;
	for (int i = 1; i < (bounds == NULL ? 0 : bounds->ndatums); i++)
	{
		EbPartition *partition;

		if (bounds->indexes[i] < 0 ||
			bounds->kind[i][0] != PARTITION_RANGE_DATUM_VALUE ||
			bounds->kind[i - 1][0] != PARTITION_RANGE_DATUM_VALUE)
			continue;			/* a gap, or not one that we made */
		partition = &list[(*n)++];
		partition->relid = desc->oids[bounds->indexes[i]];
		partition->lower = datumCopy(bounds->datums[i - 1][0], byval, len);
		partition->upper = datumCopy(bounds->datums[i][0], byval, len);
	}
	table_close(rel, AccessShareLock);
	return list;
}

/* SPI is connected, as the extension's owner. */
static void
execute(const char *sql)
{
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
}

/* Takes away what default privileges gave to others than the owner. */
static void
revoke_defaults(const char *name)
{
	execute(psprintf("SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END "
					 "FROM pg_class c, aclexplode(c.relacl) a "
					 "WHERE c.oid = '" EB_SCHEMA ".%s'::regclass AND a.grantee <> c.relowner GROUP BY 1",
					 quote_identifier(name)));
	for (uint64 i = 0, n = SPI_processed; i < n; i++)
	{
		SPITupleTable *grantees = SPI_tuptable;

		execute(psprintf("REVOKE ALL ON " EB_SCHEMA ".%s FROM %s", quote_identifier(name),
						 SPI_getvalue(grantees->vals[i], grantees->tupdesc, 1)));
		SPI_tuptable = grantees;
	}
}

/* In a pre-commit callback there is no snapshot any more, and SPI wants one. */
void
eb_partition_create(const EbPartitionMake *make)
{
	EbOwnerScope scope;
	const char *parent = quote_identifier(make->parent);
	const char *name = quote_identifier(make->name);

	PushActiveSnapshot(GetTransactionSnapshot());
	eb_owner_begin(&scope);
	SPI_connect();
	execute(psprintf("CREATE TABLE " EB_SCHEMA ".%s (LIKE " EB_SCHEMA ".%s INCLUDING ALL) "
					 "USING heap WITH (%s)", name, parent, make->storage));
	execute(psprintf("ALTER TABLE " EB_SCHEMA ".%s ADD PRIMARY KEY (%s)", name, make->key));
	if (make->index != NULL)
		execute(psprintf("CREATE INDEX ON " EB_SCHEMA ".%s (%s)", name, make->index));
	revoke_defaults(make->name);
	execute(psprintf("ALTER TABLE " EB_SCHEMA ".%s ATTACH PARTITION " EB_SCHEMA ".%s "
					 "FOR VALUES FROM ('%s') TO ('%s')", parent, name, make->lower, make->upper));
	SPI_finish();
	eb_owner_end(&scope);
	PopActiveSnapshot();
}

void
eb_partition_drop(const char *name)
{
	EbOwnerScope scope;

	PushActiveSnapshot(GetTransactionSnapshot());
	eb_owner_begin(&scope);
	SPI_connect();
	execute(psprintf("DROP TABLE " EB_SCHEMA ".%s", quote_identifier(name)));
	SPI_finish();
	eb_owner_end(&scope);
	PopActiveSnapshot();
}
