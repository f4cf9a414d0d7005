/*
 * outbox_store.c
 *	  The bytes of the outbox: chunks that grow, spill, and can be cut back.
 *
 * Rows lie in chunks in the order of emission.  The first chunk belongs to the
 * backend, so that a small transaction allocates nothing; the others live as long
 * as the transaction.  Beyond eventbus.outbox_memory all chunks go to one
 * temporary file, each of whose chunks is read back whole.
 *
 * Cutting back happens in abort callbacks, so it does no I/O and cannot fail: a
 * chunk in the file merely gets shorter, and the next spill overwrites the rest.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/tablespace.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "compat.h"
#include "guc.h"
#include "log.h"
#include "outbox_store.h"

#define FIRST_CHUNK_SIZE	(16 * 1024)
#define MAX_CHUNK_SIZE		(1024 * 1024)

/* A row in a chunk; the heap row follows, aligned. */
typedef struct EbEntry
{
	uint32		len;			/* of the row */
	uint32		unused;
} EbEntry;

#define ENTRY_SIZE(len)		MAXALIGN(sizeof(EbEntry) + (len))

typedef struct EbChunk
{
	char	   *data;			/* NULL = spilled */
	Size		size;			/* of data */
	Size		used;
	int			fileno;			/* where it was spilled to */
	off_t		offset;
	bool		has_generated;
	pg_uuid_t	first_generated;	/* rise within the outbox */
	pg_uuid_t	last_generated;
} EbChunk;

static struct
{
	MemoryContext context;		/* NULL = nothing beyond the first chunk */
	EbChunk    *chunks;
	int			nchunks;
	int			capacity;
	int			nspilled;		/* chunks[0..nspilled-1] are in the file */
	int64		nevents;
	Size		memory;			/* bytes of the chunks in memory */
	BufFile    *file;
} store;

static char *first_data = NULL; /* the backend's own chunk */
static EbChunk first_chunks[4];

static MemoryContext
store_context(void)
{
	if (store.context == NULL)
		store.context = AllocSetContextCreate(TopTransactionContext, "eventbus outbox",
											  ALLOCSET_DEFAULT_SIZES);
	return store.context;
}

static void
free_data(EbChunk *chunk)
{
	if (chunk->data == NULL)
		return;
	store.memory -= chunk->size;
	if (chunk->data != first_data)
		pfree(chunk->data);
	chunk->data = NULL;
}

/* The file must outlive the subtransaction that happens to need it first. */
static void
open_file(void)
{
	ResourceOwner oldowner = CurrentResourceOwner;
	MemoryContext oldcontext = MemoryContextSwitchTo(store_context());

	PrepareTempTablespaces();
	CurrentResourceOwner = TopTransactionResourceOwner;
	store.file = BufFileCreateTemp(false);
	CurrentResourceOwner = oldowner;
	MemoryContextSwitchTo(oldcontext);
}

/* Writes every chunk in memory behind the last that is in the file. */
static void
spill(void)
{
	if (store.file == NULL)
		open_file();
	if (store.nspilled > 0)
	{
		EbChunk    *last = &store.chunks[store.nspilled - 1];

		if (BufFileSeek(store.file, last->fileno, last->offset + last->used, SEEK_SET) != 0)
			elog(ERROR, "could not seek in the outbox's temporary file");
	}
	else if (BufFileSeek(store.file, 0, 0, SEEK_SET) != 0)
		elog(ERROR, "could not seek in the outbox's temporary file");

	while (store.nspilled < store.nchunks)
	{
		EbChunk    *chunk = &store.chunks[store.nspilled];

		BufFileTell(store.file, &chunk->fileno, &chunk->offset);
		BufFileWrite(store.file, chunk->data, chunk->used);
		free_data(chunk);
		store.nspilled++;
	}
}

static void
grow_directory(void)
{
	EbChunk    *grown;
	int			capacity = store.capacity * 2;

	grown = MemoryContextAllocHuge(store_context(), capacity * sizeof(EbChunk));
	memcpy(grown, store.chunks, store.nchunks * sizeof(EbChunk));
	if (store.chunks != first_chunks)
		pfree(store.chunks);
	store.chunks = grown;
	store.capacity = capacity;
}

/* For the chunks; the rest is for reading one back and for writing to the log. */
static Size
memory_limit(void)
{
	return (Size) eb_outbox_memory * 1024 / 16 * 15;
}

static Size
next_chunk_size(Size needed)
{
	Size		limit = memory_limit();
	Size		size = FIRST_CHUNK_SIZE;

	if (store.nspilled > 0)
		size = MAX_CHUNK_SIZE;
	else if (store.nchunks > 0)
		size = Min(Max(store.memory, 2 * FIRST_CHUNK_SIZE), MAX_CHUNK_SIZE);
	size = Min(size, limit / 4);
	return Max(size, needed);
}

/* Adds a chunk with room for needed bytes, spilling the others if it must. */
static EbChunk *
add_chunk(Size needed)
{
	Size		size = next_chunk_size(needed);
	EbChunk    *chunk;
	char	   *data;

	if (store.chunks == NULL)
	{
		store.chunks = first_chunks;
		store.capacity = lengthof(first_chunks);
	}
	if (first_data == NULL)
		first_data = MemoryContextAlloc(TopMemoryContext, FIRST_CHUNK_SIZE);
	if (store.nchunks > store.nspilled &&
		store.memory + size > memory_limit())
		spill();
	if (store.nchunks == store.capacity)
		grow_directory();
	if (store.nchunks == 0 && size <= FIRST_CHUNK_SIZE)
	{
		size = FIRST_CHUNK_SIZE;
		data = first_data;
	}
	else
		data = MemoryContextAllocHuge(store_context(), size);

	chunk = &store.chunks[store.nchunks++];
	memset(chunk, 0, sizeof(EbChunk));
	chunk->data = data;
	chunk->size = size;
	store.memory += size;
	return chunk;
}

/* Room for a row of len bytes, which the caller fills. */
HeapTupleHeader
eb_outbox_store_add(uint32 len)
{
	EbChunk    *chunk = store.nchunks > 0 ? &store.chunks[store.nchunks - 1] : NULL;
	EbEntry    *entry;

	if (chunk == NULL || chunk->data == NULL ||
		chunk->used + ENTRY_SIZE(len) > chunk->size)
		chunk = add_chunk(ENTRY_SIZE(len));
	entry = (EbEntry *) (chunk->data + chunk->used);
	entry->len = len;
	entry->unused = 0;
	/* the padding is written with the rest when the chunk spills */
	memset((char *) (entry + 1) + len, 0, ENTRY_SIZE(len) - sizeof(EbEntry) - len);
	chunk->used += ENTRY_SIZE(len);
	store.nevents++;
	return (HeapTupleHeader) (entry + 1);
}

/* The row just added has an id of ours; such ids rise. */
void
eb_outbox_store_generated(const pg_uuid_t *id)
{
	EbChunk    *chunk = &store.chunks[store.nchunks - 1];

	if (!chunk->has_generated)
		chunk->first_generated = *id;
	chunk->last_generated = *id;
	chunk->has_generated = true;
}

int64
eb_outbox_store_count(void)
{
	return store.nevents;
}

void
eb_outbox_store_mark(EbOutboxMark *mark)
{
	mark->nchunks = store.nchunks;
	mark->used = store.nchunks > 0 ? store.chunks[store.nchunks - 1].used : 0;
	mark->nevents = store.nevents;
}

void
eb_outbox_store_truncate(const EbOutboxMark *mark)
{
	while (store.nchunks > mark->nchunks)
		free_data(&store.chunks[--store.nchunks]);
	store.nspilled = Min(store.nspilled, store.nchunks);
	if (store.nchunks > 0)
		store.chunks[store.nchunks - 1].used = mark->used;
	store.nevents = mark->nevents;
}

/* Closes the file while its resource owner lives; at a regular end. */
void
eb_outbox_store_close(void)
{
	if (store.file != NULL)
		BufFileClose(store.file);
	store.file = NULL;
}

/* After the transaction: memory and file went with it. */
void
eb_outbox_store_forget(void)
{
	memset(&store, 0, sizeof(store));
}

/* Makes the reader's chunk available in memory. */
static void
fetch_chunk(EbOutboxReader *reader)
{
	EbChunk    *chunk = &store.chunks[reader->chunk];

	if (chunk->data != NULL)
	{
		reader->data = chunk->data;
		return;
	}
	if (reader->buffer_size < chunk->used)
	{
		if (reader->buffer != NULL)
			pfree(reader->buffer);
		reader->buffer_size = chunk->used;
		reader->buffer = MemoryContextAllocHuge(CurrentMemoryContext, reader->buffer_size);
	}
	if (BufFileSeek(store.file, chunk->fileno, chunk->offset, SEEK_SET) != 0)
		elog(ERROR, "could not seek in the outbox's temporary file");
	BufFileReadExact(store.file, reader->buffer, chunk->used);
	reader->data = reader->buffer;
}

void
eb_outbox_reader_init(EbOutboxReader *reader)
{
	memset(reader, 0, sizeof(*reader));
}

bool
eb_outbox_store_chunk_done(const EbOutboxReader *reader)
{
	return reader->chunk < store.nchunks &&
		reader->pos >= store.chunks[reader->chunk].used;
}

/* The next row, valid until the reader leaves its chunk; NULL at the end. */
HeapTupleHeader
eb_outbox_reader_next(EbOutboxReader *reader, uint32 *len)
{
	EbEntry    *entry;

	while (eb_outbox_store_chunk_done(reader))
	{
		reader->chunk++;
		reader->pos = 0;
		reader->data = NULL;
	}
	if (reader->chunk >= store.nchunks)
		return NULL;
	if (reader->data == NULL)
		fetch_chunk(reader);
	entry = (EbEntry *) (reader->data + reader->pos);
	*len = entry->len;
	reader->pos += ENTRY_SIZE(entry->len);
	return (HeapTupleHeader) (entry + 1);
}

void
eb_outbox_reader_end(EbOutboxReader *reader)
{
	if (reader->buffer != NULL)
		pfree(reader->buffer);
	reader->buffer = NULL;
}

/* True if the row's id is id. */
static bool
row_has_id(HeapTupleHeader row, uint32 len, const pg_uuid_t *id)
{
	HeapTupleData tuple = {.t_len = len, .t_data = row};
	bool		isnull;
	Datum		datum = heap_getattr(&tuple, EB_LOG_EVENT_ID, eb_log_tupdesc(), &isnull);

	return memcmp(DatumGetUUIDP(datum), id, sizeof(*id)) == 0;
}

/* Generated ids rise, so at most one chunk can hold this one. */
bool
eb_outbox_has_generated(const pg_uuid_t *id)
{
	for (int i = store.nchunks - 1; i >= 0; i--)
	{
		EbChunk    *chunk = &store.chunks[i];
		EbOutboxReader reader;
		bool		found = false;

		if (!chunk->has_generated ||
			memcmp(id, &chunk->first_generated, sizeof(*id)) < 0)
			continue;
		if (memcmp(id, &chunk->last_generated, sizeof(*id)) > 0)
			return false;
		eb_outbox_reader_init(&reader);
		reader.chunk = i;
		while (!found && reader.pos < chunk->used)
		{
			uint32		len;
			HeapTupleHeader row = eb_outbox_reader_next(&reader, &len);

			found = row_has_id(row, len, id);
		}
		eb_outbox_reader_end(&reader);
		return found;
	}
	return false;
}
