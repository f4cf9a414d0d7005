/*
 * filter_quick.c
 *	  Saying no to an event without evaluating its filter.
 *
 * Most filters demand that some member of the payload has some value, and most
 * events do not pass.  So the conditions of the form $.member == literal that the
 * whole path depends on (it is one, or a conjunction with some among its terms) are
 * looked at first, by the binary search that jsonb is made for.  Only a plain no
 * counts: whatever jsonpath would unwrap, convert or call unknown is left to it.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "filter_quick.h"

#define TERMS_MAX	8

typedef struct EbTerm
{
	char	   *key;
	int			keylen;
	JsonbValue	value;			/* jbvString, jbvNumeric or jbvBool */
} EbTerm;

struct EbQuick
{
	int			n;
	EbTerm		terms[TERMS_MAX];
};

/* Reads a literal; what it points to lives as long as the path. */
static bool
read_literal(JsonPathItem *item, JsonbValue *value)
{
	int32		len;

	if (jspHasNext(item))
		return false;
	switch (item->type)
	{
		case jpiString:
			value->type = jbvString;
			value->val.string.val = jspGetString(item, &len);
			value->val.string.len = len;
			return true;
		case jpiNumeric:
			value->type = jbvNumeric;
			value->val.numeric = jspGetNumeric(item);
			return true;
		case jpiBool:
			value->type = jbvBool;
			value->val.boolean = jspGetBool(item);
			return true;
		default:
			return false;
	}
}

/* Reads $.member. */
static bool
read_member(JsonPathItem *item, EbTerm *term)
{
	JsonPathItem key;
	int32		len;

	if (item->type != jpiRoot || !jspGetNext(item, &key) ||
		key.type != jpiKey || jspHasNext(&key))
		return false;
	term->key = jspGetString(&key, &len);
	term->keylen = len;
	return true;
}

static void
collect(JsonPathItem *item, EbQuick *quick)
{
	JsonPathItem left;
	JsonPathItem right;
	EbTerm	   *term = &quick->terms[quick->n];

	if (quick->n == TERMS_MAX || jspHasNext(item) ||
		(item->type != jpiAnd && item->type != jpiEqual))
		return;
	jspGetLeftArg(item, &left);
	jspGetRightArg(item, &right);
	if (item->type == jpiAnd)
	{
		collect(&left, quick);
		collect(&right, quick);
	}
	else if ((read_member(&left, term) && read_literal(&right, &term->value)) ||
			 (read_member(&right, term) && read_literal(&left, &term->value)))
		quick->n++;
}

EbQuick *
eb_filter_quick_compile(JsonPath *path)
{
	EbQuick    *quick = palloc0(sizeof(EbQuick));
	JsonPathItem root;

	/* a strict path makes an error of a missing member */
	if ((path->header & JSONPATH_LAX) == 0)
		return NULL;
	jspInit(&root, path);
	collect(&root, quick);
	return quick->n > 0 ? quick : NULL;
}

/* Whether two scalars of one type differ. */
static bool
differ(const JsonbValue *a, const JsonbValue *b)
{
	switch (a->type)
	{
		case jbvString:
			return a->val.string.len != b->val.string.len ||
				memcmp(a->val.string.val, b->val.string.val, a->val.string.len) != 0;
		case jbvNumeric:
			return DatumGetInt32(DirectFunctionCall2(numeric_cmp,
													 NumericGetDatum(a->val.numeric),
													 NumericGetDatum(b->val.numeric))) != 0;
		case jbvBool:
			return a->val.boolean != b->val.boolean;
		default:
			return false;
	}
}

bool
eb_filter_quick_rejects(const EbQuick *quick, Jsonb *payload)
{
	if (!JB_ROOT_IS_OBJECT(payload))
		return false;
	for (int i = 0; i < quick->n; i++)
	{
		const EbTerm *term = &quick->terms[i];
		JsonbValue	found;

		if (getKeyJsonValueFromContainer(&payload->root, term->key, term->keylen,
										 &found) == NULL)
			return true;
		if (found.type == term->value.type && differ(&found, &term->value))
			return true;
	}
	return false;
}
