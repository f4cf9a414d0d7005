/*
 * Reading Jsonb in place: one value is a type bit, a length and a pointer into
 * the container that holds it.  Nothing here allocates.
 */
#ifndef EB_SCHEMA_JSON_H
#define EB_SCHEMA_JSON_H

#include "utils/jsonb.h"

/* JSON types as bits; EB_JSON_INTEGER occurs in schemas only */
#define EB_JSON_NULL		0x01
#define EB_JSON_BOOLEAN		0x02
#define EB_JSON_NUMBER		0x04
#define EB_JSON_STRING		0x08
#define EB_JSON_ARRAY		0x10
#define EB_JSON_OBJECT		0x20
#define EB_JSON_INTEGER		0x40
#define EB_JSON_ANY			0x3f

typedef struct EbJson
{
	uint8		type;			/* one of the bits above */
	bool		boolean;		/* EB_JSON_BOOLEAN */
	int			len;			/* EB_JSON_STRING: bytes */
	const char *data;			/* bytes, Numeric or JsonbContainer */
} EbJson;

/* A walk over the elements of an array or the pairs of an object. */
typedef struct EbJsonWalk
{
	const JEntry *entries;		/* elements, or keys followed by values */
	const char *base;
	uint32		key_offset;
	uint32		value_offset;
	int			n;				/* elements or pairs */
	int			i;				/* next one */
} EbJsonWalk;

#define EbJsonContainer(v)	((const JsonbContainer *) (v)->data)
#define EbJsonCount(v)		((int) (EbJsonContainer(v)->header & JB_CMASK))

extern EbJson eb_schema_json_root(const Jsonb *doc);
extern bool eb_schema_json_get(const EbJson *object, const char *key, int len,
							   EbJson *value, int *index);
extern bool eb_schema_json_element(const EbJson *array, int i, EbJson *value);
extern bool eb_schema_json_equal(const EbJson *a, const EbJson *b);
extern uint32 eb_schema_json_hash(const EbJson *v);
extern const char *eb_schema_json_type_name(uint8 type);
extern char *eb_schema_json_text(const EbJson *v);
extern bool eb_schema_json_unique(const EbJson *array, int *first, int *second);

static inline bool
eb_json_is_string(const EbJson *v, const char *s)
{
	return v->type == EB_JSON_STRING && v->len == (int) strlen(s) &&
		memcmp(v->data, s, v->len) == 0;
}

/* Fills v from an entry at offset; returns the offset of the next entry. */
static inline uint32
eb_json_read(EbJson *v, JEntry entry, const char *base, uint32 offset)
{
	uint32		end = JBE_OFFLENFLD(entry);

	if (!JBE_HAS_OFF(entry))
		end += offset;
	switch (entry & JENTRY_TYPEMASK)
	{
		case JENTRY_ISSTRING:
			v->type = EB_JSON_STRING;
			v->data = base + offset;
			v->len = end - offset;
			break;
		case JENTRY_ISNUMERIC:
			v->type = EB_JSON_NUMBER;
			v->data = base + INTALIGN(offset);
			break;
		case JENTRY_ISBOOL_TRUE:
			v->type = EB_JSON_BOOLEAN;
			v->boolean = true;
			break;
		case JENTRY_ISBOOL_FALSE:
			v->type = EB_JSON_BOOLEAN;
			v->boolean = false;
			break;
		case JENTRY_ISNULL:
			v->type = EB_JSON_NULL;
			break;
		default:
			v->data = base + INTALIGN(offset);
			v->type = (EbJsonContainer(v)->header & JB_FOBJECT) ?
				EB_JSON_OBJECT : EB_JSON_ARRAY;
			break;
	}
	return end;
}

static inline void
eb_json_walk_init(EbJsonWalk *w, const EbJson *v)
{
	const JsonbContainer *c = EbJsonContainer(v);

	w->n = c->header & JB_CMASK;
	w->i = 0;
	w->entries = c->children;
	w->key_offset = 0;
	if (v->type == EB_JSON_OBJECT)
	{
		w->base = (const char *) (c->children + 2 * w->n);
		w->value_offset = w->n > 0 ? getJsonbOffset(c, w->n) : 0;
	}
	else
	{
		w->base = (const char *) (c->children + w->n);
		w->value_offset = 0;
	}
}

static inline bool
eb_json_walk_element(EbJsonWalk *w, EbJson *value)
{
	if (w->i >= w->n)
		return false;
	w->value_offset = eb_json_read(value, w->entries[w->i++], w->base,
								   w->value_offset);
	return true;
}

static inline bool
eb_json_walk_pair(EbJsonWalk *w, EbJson *key, EbJson *value)
{
	if (w->i >= w->n)
		return false;
	key->type = EB_JSON_STRING;
	key->data = w->base + w->key_offset;
	key->len = JBE_OFFLENFLD(w->entries[w->i]);
	if (JBE_HAS_OFF(w->entries[w->i]))
		key->len -= w->key_offset;
	w->key_offset += key->len;
	w->value_offset = eb_json_read(value, w->entries[w->n + w->i], w->base,
								   w->value_offset);
	w->i++;
	return true;
}

static inline uint64
eb_json_load8(const char *s)
{
	uint64		word;

	memcpy(&word, s, sizeof(word));
	return word;
}

static inline uint32
eb_json_load4(const char *s)
{
	uint32		word;

	memcpy(&word, s, sizeof(word));
	return word;
}

/* memcmp(...) == 0 without the call for the lengths that names have */
static inline bool
eb_json_bytes_equal(const char *a, const char *b, int len)
{
	if (len > 16)
		return memcmp(a, b, len) == 0;
	if (len >= 8)
		return eb_json_load8(a) == eb_json_load8(b) &&
			eb_json_load8(a + len - 8) == eb_json_load8(b + len - 8);
	if (len >= 4)
		return eb_json_load4(a) == eb_json_load4(b) &&
			eb_json_load4(a + len - 4) == eb_json_load4(b + len - 4);
	for (int i = 0; i < len; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

/* The order of keys in a Jsonb object: by length, then by bytes. */
static inline int
eb_json_key_cmp(const char *a, int alen, const char *b, int blen)
{
	if (alen != blen)
		return alen < blen ? -1 : 1;
	return eb_json_bytes_equal(a, b, alen) ? 0 : memcmp(a, b, alen);
}

#endif							/* EB_SCHEMA_JSON_H */
