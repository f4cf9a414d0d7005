/*
 * outbox.h
 *	  The outbox: the events that this transaction has emitted and not committed.
 */
#ifndef EB_OUTBOX_H
#define EB_OUTBOX_H

#include "access/htup.h"
#include "utils/uuid.h"

/* Reads the outbox in the order of emission, spilled chunks included. */
typedef struct EbOutboxReader
{
	int			chunk;			/* the one being read */
	Size		pos;			/* in it */
	char	   *data;			/* its bytes; NULL = not fetched yet */
	char	   *buffer;			/* for spilled chunks */
	Size		buffer_size;
} EbOutboxReader;

/* Called once, when the library is preloaded. */
extern void eb_outbox_init(void);

/* Errors unless this transaction may emit, now and here. */
extern void eb_outbox_check(const char *function);

/* Appends a row in eb_log_tupdesc's order; generated: the id is ours. */
extern void eb_outbox_append(const Datum *values, const bool *nulls, bool generated);

/* True if an id that eventbus generated in this transaction is id. */
extern bool eb_outbox_has_generated(const pg_uuid_t *id);

extern void eb_outbox_reader_init(EbOutboxReader *reader);
extern HeapTupleHeader eb_outbox_reader_next(EbOutboxReader *reader, uint32 *len);
extern void eb_outbox_reader_end(EbOutboxReader *reader);

#endif							/* EB_OUTBOX_H */
