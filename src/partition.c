/*
 * partition.c
 *	  Range partitions of one of our tables: list them, make one.
 *
 * Partitions are made at run time, so they are no extension members: pg_dump
 * saves them with their rows, and DROP EXTENSION reaches them as parts of their
 * parent.  A new one is built apart and then attached, because attaching takes
 * a lock on the parent that readers and writers do not notice.
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
 * The parent's lock is given back at once: it guards the reading of the bounds,
 * and who uses a partition locks that.  So making and dropping partitions does not
 * wait for transactions that merely use some of them.
 */
EbPartition *
eb_partition_list(Oid parent, int *n)
{
	Relation	rel = table_open(parent, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(rel);
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	bool		byval = key->parttypbyval[0];
	int			len = key->parttyplen[0];
	EbPartition *list = palloc(sizeof(EbPartition) * Max(desc->nparts, 1));

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

/* In a pre-commit callback there is no snapshot any more, and SPI wants one. */
static void
run_as_owner(const char *first, const char *second)
{
	EbOwnerScope scope;

	PushActiveSnapshot(GetTransactionSnapshot());
	eb_owner_begin(&scope);
	SPI_connect();
	if (SPI_execute(first, false, 0) < 0 ||
		(second != NULL && SPI_execute(second, false, 0) < 0))
		elog(ERROR, "could not execute \"%s\"", first);
	SPI_finish();
	eb_owner_end(&scope);
	PopActiveSnapshot();
}

void
eb_partition_create(const char *parent, const char *name,
					const char *lower, const char *upper, const char *storage)
{
	char	   *create = psprintf("CREATE TABLE " EB_SCHEMA ".%s (LIKE " EB_SCHEMA ".%s INCLUDING ALL) "
								  "USING heap WITH (%s)",
								  quote_identifier(name), quote_identifier(parent), storage);
	char	   *attach = psprintf("ALTER TABLE " EB_SCHEMA ".%s ATTACH PARTITION " EB_SCHEMA ".%s "
								  "FOR VALUES FROM ('%s') TO ('%s')",
								  quote_identifier(parent), quote_identifier(name), lower, upper);

	run_as_owner(create, attach);
	pfree(create);
	pfree(attach);
}

void
eb_partition_drop(const char *name)
{
	char	   *drop = psprintf("DROP TABLE " EB_SCHEMA ".%s", quote_identifier(name));

	run_as_owner(drop, NULL);
	pfree(drop);
}
