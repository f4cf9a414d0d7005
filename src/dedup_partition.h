/*
 * dedup_partition.h
 *	  The partitions of the tables of ids, by the time inside the ids; for dedup*.c.
 */
#ifndef EB_DEDUP_PARTITION_H
#define EB_DEDUP_PARTITION_H

#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

#include "dedup.h"

/* Opens and locks the partition that holds id, making it if there is none. */
extern Relation eb_dedup_partition_open(EbDedupTable which, const pg_uuid_t *id, LOCKMODE lockmode);

#endif							/* EB_DEDUP_PARTITION_H */
