/*
 * outbox_store.h
 *	  The bytes of the outbox: chunks that grow, spill, and can be cut back.
 */
#ifndef EB_OUTBOX_STORE_H
#define EB_OUTBOX_STORE_H

#include "outbox.h"

/* A place in the outbox to cut back to. */
typedef struct EbOutboxMark
{
	int			nchunks;		/* chunks that were in use */
	Size		used;			/* bytes in the last of them */
	int64		nevents;		/* in all of them */
} EbOutboxMark;

extern HeapTupleHeader eb_outbox_store_add(uint32 len);
extern void eb_outbox_store_generated(const pg_uuid_t *id);
extern int64 eb_outbox_store_count(void);
extern void eb_outbox_store_mark(EbOutboxMark *mark);
extern void eb_outbox_store_truncate(const EbOutboxMark *mark);
extern void eb_outbox_store_close(void);
extern void eb_outbox_store_forget(void);

/* True once the reader's current chunk is read to its end. */
extern bool eb_outbox_store_chunk_done(const EbOutboxReader *reader);

#endif							/* EB_OUTBOX_STORE_H */
