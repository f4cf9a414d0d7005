/*
 * partition.h
 *	  Range partitions of one of our tables: list them, make one.
 */
#ifndef EB_PARTITION_H
#define EB_PARTITION_H

#include "utils/relcache.h"

typedef struct EbPartition
{
	Oid			relid;
	Datum		lower;			/* included */
	Datum		upper;			/* excluded */
} EbPartition;

/* The partitions in rising order, in the current memory context; *n of them. */
extern EbPartition *eb_partition_list(Oid parent, int *n);

/* What to make; all but the names are SQL, the bounds literals without quotes. */
typedef struct EbPartitionMake
{
	const char *parent;
	const char *name;
	const char *lower;
	const char *upper;
	const char *key;			/* columns of the primary key */
	const char *index;			/* columns of one more index; NULL = none */
	const char *storage;		/* storage parameters */
} EbPartitionMake;

/*
 * Makes the partition eventbus.<name> of eventbus.<parent> as the extension's
 * owner.  The caller holds the parent's ShareUpdateExclusiveLock and has looked
 * that nothing overlaps.
 */
extern void eb_partition_create(const EbPartitionMake *make);

/* Drops eventbus.<name>; the caller holds the locks. */
extern void eb_partition_drop(const char *name);

#endif							/* EB_PARTITION_H */
