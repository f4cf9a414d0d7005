/*
 * schema_json.c
 *		Reading, comparing and hashing Jsonb values where they lie.
 *
 * Equality is JSON Schema's: numbers by value (1.0 equals 1), strings by bytes,
 * objects without regard to order (Jsonb keeps keys sorted and unique).
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "compat.h"
#include "schema_json.h"
#include "schema_number.h"

/* arrays up to this length are compared pairwise for uniqueItems */
#define PAIRWISE_ITEMS		8

static const struct
{
	uint8		type;
	const char *name;
}			type_names[] = {
	{EB_JSON_NULL, "null"},
	{EB_JSON_BOOLEAN, "boolean"},
	{EB_JSON_NUMBER, "number"},
	{EB_JSON_STRING, "string"},
	{EB_JSON_ARRAY, "array"},
	{EB_JSON_OBJECT, "object"},
	{EB_JSON_INTEGER, "integer"},
};

const char *
eb_schema_json_type_name(uint8 type)
{
	for (int i = 0; i < lengthof(type_names); i++)
		if (type_names[i].type == type)
			return type_names[i].name;
	return NULL;
}

/* The document's top value (a scalar hides in a pseudo array). */
EbJson
eb_schema_json_root(const Jsonb *doc)
{
	EbJson		v = {0};

	v.data = (const char *) &doc->root;
	if (doc->root.header & JB_FSCALAR)
	{
		EbJson		scalar = {0};

		eb_json_read(&scalar, doc->root.children[0],
					 (const char *) (doc->root.children + 1), 0);
		return scalar;
	}
	v.type = (doc->root.header & JB_FOBJECT) ? EB_JSON_OBJECT : EB_JSON_ARRAY;
	return v;
}

/* The value of a key, and its position among the pairs if index is given. */
bool
eb_schema_json_get(const EbJson *object, const char *key, int len,
				   EbJson *value, int *index)
{
	const JsonbContainer *c = EbJsonContainer(object);
	int			n = c->header & JB_CMASK;
	const char *base = (const char *) (c->children + 2 * n);
	int			low = 0;
	int			high = n;

	while (low < high)
	{
		int			mid = (low + high) / 2;
		uint32		offset = getJsonbOffset(c, mid);
		int			cmp = eb_json_key_cmp(base + offset,
										  getJsonbLength(c, mid), key, len);

		if (cmp == 0)
		{
			eb_json_read(value, c->children[n + mid], base,
						 getJsonbOffset(c, n + mid));
			if (index)
				*index = mid;
			return true;
		}
		if (cmp < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

bool
eb_schema_json_element(const EbJson *array, int i, EbJson *value)
{
	const JsonbContainer *c = EbJsonContainer(array);
	int			n = c->header & JB_CMASK;

	if (i < 0 || i >= n)
		return false;
	eb_json_read(value, c->children[i], (const char *) (c->children + n),
				 getJsonbOffset(c, i));
	return true;
}

static bool
containers_equal(const EbJson *a, const EbJson *b)
{
	EbJsonWalk	wa;
	EbJsonWalk	wb;
	EbJson		ka;
	EbJson		kb;
	EbJson		va;
	EbJson		vb;

	if (EbJsonCount(a) != EbJsonCount(b))
		return false;
	check_stack_depth();
	eb_json_walk_init(&wa, a);
	eb_json_walk_init(&wb, b);
	if (a->type == EB_JSON_ARRAY)
	{
		while (eb_json_walk_element(&wa, &va) && eb_json_walk_element(&wb, &vb))
		{
			if (!eb_schema_json_equal(&va, &vb))
				return false;
		}
		return true;
	}
	while (eb_json_walk_pair(&wa, &ka, &va) && eb_json_walk_pair(&wb, &kb, &vb))
	{
		if (eb_json_key_cmp(ka.data, ka.len, kb.data, kb.len) != 0 ||
			!eb_schema_json_equal(&va, &vb))
			return false;
	}
	return true;
}

bool
eb_schema_json_equal(const EbJson *a, const EbJson *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case EB_JSON_NULL:
			return true;
		case EB_JSON_BOOLEAN:
			return a->boolean == b->boolean;
		case EB_JSON_STRING:
			return a->len == b->len && eb_json_bytes_equal(a->data, b->data, a->len);
		case EB_JSON_NUMBER:
			{
				EbNumber	na;
				EbNumber	nb;

				eb_schema_number_read((Numeric) a->data, &na);
				eb_schema_number_read((Numeric) b->data, &nb);
				return eb_schema_number_cmp(&na, &nb) == 0;
			}
		default:
			return containers_equal(a, b);
	}
}

/* Equal values have equal hashes. */
uint32
eb_schema_json_hash(const EbJson *v)
{
	EbJsonWalk	w;
	EbJson		key;
	EbJson		value;
	uint32		hash = v->type;

	switch (v->type)
	{
		case EB_JSON_NULL:
			return hash;
		case EB_JSON_BOOLEAN:
			return hash_combine(hash, v->boolean);
		case EB_JSON_STRING:
			return hash_combine(hash, hash_bytes((const unsigned char *) v->data, v->len));
		case EB_JSON_NUMBER:
			return hash_combine(hash, DatumGetUInt32(DirectFunctionCall1(hash_numeric, PointerGetDatum(v->data))));
		case EB_JSON_ARRAY:
			check_stack_depth();
			eb_json_walk_init(&w, v);
			while (eb_json_walk_element(&w, &value))
				hash = hash_combine(hash, eb_schema_json_hash(&value));
			return hash;
		default:
			check_stack_depth();
			eb_json_walk_init(&w, v);
			while (eb_json_walk_pair(&w, &key, &value))
			{
				hash = hash_combine(hash, eb_schema_json_hash(&key));
				hash = hash_combine(hash, eb_schema_json_hash(&value));
			}
			return hash;
	}
}

/* uniqueItems by a hash table; the two positions of a duplicate if there is */
static bool
unique_hashed(const EbJson *array, int *first, int *second)
{
	int			n = EbJsonCount(array);
	uint32		size = pg_nextpower2_32(n) * 2;
	EbJson	   *items = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(EbJson) * n);
	int		   *slots = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * size);
	bool		unique = true;
	EbJsonWalk	w;

	memset(slots, -1, sizeof(int) * size);
	eb_json_walk_init(&w, array);
	for (int i = 0; i < n && unique; i++)
	{
		uint32		slot;

		if ((i & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
		eb_json_walk_element(&w, &items[i]);
		slot = eb_schema_json_hash(&items[i]) & (size - 1);
		while (slots[slot] >= 0)
		{
			if (eb_schema_json_equal(&items[slots[slot]], &items[i]))
			{
				*first = slots[slot];
				*second = i;
				unique = false;
				break;
			}
			slot = (slot + 1) & (size - 1);
		}
		slots[slot] = i;
	}
	pfree(slots);
	pfree(items);
	return unique;
}

bool
eb_schema_json_unique(const EbJson *array, int *first, int *second)
{
	EbJson		items[PAIRWISE_ITEMS];
	EbJsonWalk	w;
	int			n = EbJsonCount(array);

	if (n > PAIRWISE_ITEMS)
		return unique_hashed(array, first, second);
	eb_json_walk_init(&w, array);
	for (int i = 0; i < n; i++)
	{
		eb_json_walk_element(&w, &items[i]);
		for (int j = 0; j < i; j++)
		{
			if (eb_schema_json_equal(&items[i], &items[j]))
			{
				*first = j;
				*second = i;
				return false;
			}
		}
	}
	return true;
}

/* The value as JSON text, for messages. */
char *
eb_schema_json_text(const EbJson *v)
{
	JsonbValue	scalar;
	JsonbParseState *state = NULL;
	Jsonb	   *doc;

	switch (v->type)
	{
		case EB_JSON_ARRAY:
		case EB_JSON_OBJECT:
			return JsonbToCString(NULL, unconstify(JsonbContainer *, EbJsonContainer(v)), 64);
		case EB_JSON_NULL:
			return "null";
		case EB_JSON_BOOLEAN:
			return v->boolean ? "true" : "false";
		case EB_JSON_NUMBER:
			return DatumGetCString(DirectFunctionCall1(numeric_out, PointerGetDatum(v->data)));
		default:
			scalar.type = jbvString;
			scalar.val.string.val = unconstify(char *, v->data);
			scalar.val.string.len = v->len;
			pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
			pushJsonbValue(&state, WJB_ELEM, &scalar);
			doc = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
			{
				char	   *text = JsonbToCString(NULL, &doc->root, 64);

				text[strlen(text) - 1] = '\0';	/* [ "..." ] */
				return text + 1;
			}
	}
}
