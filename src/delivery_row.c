/*
 * delivery_row.c
 *	  Forming rows of eb_delivery, fast.
 *
 * A fetch of large batches spends its time on forming rows, so they are laid out
 * here for the fifteen columns that eb_delivery has, with their alignment known,
 * instead of by heap_form_tuple's two general passes.  A row type that is not the
 * expected one takes the general way.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "delivery_row.h"

/* Room for the header, the columns of fixed length and all padding. */
#define ROW_FIXED_MAX	256

static const Oid row_types[EB_DELIVERY_NATTS] = {
	INT8OID, INT4OID, TIMESTAMPTZOID, BOOLOID,
	INT8OID, UUIDOID, TEXTOID, TEXTOID, JSONBOID, UUIDOID,
	UUIDOID, JSONBOID, INT2OID, TIMESTAMPTZOID, TIMESTAMPTZOID
};

/* Columns of eb_delivery, from 0, that may be null, and those of varying length. */
enum
{
	ROW_EVENT_ID = EB_DELIVERY_PREFIX + 1,
	ROW_TYPE,
	ROW_AGGREGATE_ID,
	ROW_PAYLOAD,
	ROW_CORRELATION_ID,
	ROW_CAUSATION_ID,
	ROW_HEADERS,
	ROW_PRIORITY,
	ROW_DELIVER_AT,
	ROW_EMITTED_AT
};

void
eb_delivery_former_init(EbDeliveryFormer *former, TupleDesc desc)
{
	memset(former, 0, sizeof(EbDeliveryFormer));
	former->desc = desc;
	former->known = (desc->natts == EB_DELIVERY_NATTS);
	for (int i = 0; former->known && i < EB_DELIVERY_NATTS; i++)
		former->known = (TupleDescAttr(desc, i)->atttypid == row_types[i]);
}

/* Moves p to a multiple of align from the row's beginning; padding must be zero. */
static inline char *
align_to(char *p, int align)
{
	while ((uintptr_t) p & (align - 1))
		*p++ = 0;
	return p;
}

static inline char *
put_int64(char *p, int64 value)
{
	p = align_to(p, ALIGNOF_DOUBLE);
	memcpy(p, &value, sizeof(value));
	return p + sizeof(value);
}

static inline char *
put_uuid(char *p, Datum value)
{
	memcpy(p, DatumGetPointer(value), UUID_LEN);
	return p + UUID_LEN;
}

/* As heap_fill_tuple: a short or external value as it is, others aligned. */
static inline char *
put_varlena(char *p, Datum value, uint16 *infomask)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(value);
	Size		len = VARSIZE_ANY(v);

	if (VARATT_IS_EXTERNAL(v))
		*infomask |= HEAP_HASEXTERNAL;
	else if (!VARATT_IS_SHORT(v))
		p = align_to(p, ALIGNOF_INT);
	memcpy(p, v, len);
	return p + len;
}

/* An upper bound of the row's length, for which the buffer is made. */
static void
make_room(EbDeliveryFormer *former, const Datum *values, const bool *nulls)
{
	static const uint8 varying[] = {ROW_TYPE, ROW_AGGREGATE_ID, ROW_PAYLOAD, ROW_HEADERS};
	Size		needed = ROW_FIXED_MAX;

	for (int i = 0; i < lengthof(varying); i++)
		if (!nulls[varying[i]])
			needed += VARSIZE_ANY(DatumGetPointer(values[varying[i]]));
	if (needed <= former->size)
		return;
	if (former->tuple.t_data != NULL)
		pfree(former->tuple.t_data);
	former->size = needed + needed / 4;
	former->tuple.t_data = palloc(former->size);
}

/* Header, null bitmap and where the data begins. */
static char *
begin_row(EbDeliveryFormer *former, const bool *nulls)
{
	HeapTupleHeader row = former->tuple.t_data;
	bool		hasnull = false;
	int			hoff;

	for (int i = ROW_AGGREGATE_ID; i < EB_DELIVERY_NATTS; i++)
		hasnull |= nulls[i];
	hoff = MAXALIGN(SizeofHeapTupleHeader + (hasnull ? BITMAPLEN(EB_DELIVERY_NATTS) : 0));
	memset(row, 0, hoff);
	ItemPointerSetInvalid(&row->t_ctid);
	HeapTupleHeaderSetNatts(row, EB_DELIVERY_NATTS);
	row->t_hoff = hoff;
	row->t_infomask = HEAP_HASVARWIDTH | (hasnull ? HEAP_HASNULL : 0);
	if (hasnull)
		for (int i = 0; i < EB_DELIVERY_NATTS; i++)
			if (!nulls[i])
				row->t_bits[i >> 3] |= 1 << (i & 7);
	return (char *) row + hoff;
}

/* Lays the row out in the buffer. */
static void
form_row(EbDeliveryFormer *former, const Datum *values, const bool *nulls)
{
	HeapTupleHeader row;
	char	   *p;
	int32		attempt = DatumGetInt32(values[1]);
	int16		priority = DatumGetInt16(values[ROW_PRIORITY]);

	make_room(former, values, nulls);
	row = former->tuple.t_data;
	p = begin_row(former, nulls);
	p = put_int64(p, DatumGetInt64(values[0]));
	memcpy(p, &attempt, sizeof(attempt));
	p = put_int64(p + sizeof(attempt), DatumGetTimestampTz(values[2]));
	*p++ = DatumGetBool(values[3]);
	p = put_int64(p, DatumGetInt64(values[EB_DELIVERY_PREFIX]));
	p = put_uuid(p, values[ROW_EVENT_ID]);
	p = put_varlena(p, values[ROW_TYPE], &row->t_infomask);
	if (!nulls[ROW_AGGREGATE_ID])
		p = put_varlena(p, values[ROW_AGGREGATE_ID], &row->t_infomask);
	p = put_varlena(p, values[ROW_PAYLOAD], &row->t_infomask);
	p = put_uuid(p, values[ROW_CORRELATION_ID]);
	if (!nulls[ROW_CAUSATION_ID])
		p = put_uuid(p, values[ROW_CAUSATION_ID]);
	if (!nulls[ROW_HEADERS])
		p = put_varlena(p, values[ROW_HEADERS], &row->t_infomask);
	p = align_to(p, ALIGNOF_SHORT);
	memcpy(p, &priority, sizeof(priority));
	p += sizeof(priority);
	if (!nulls[ROW_DELIVER_AT])
		p = put_int64(p, DatumGetTimestampTz(values[ROW_DELIVER_AT]));
	p = put_int64(p, DatumGetTimestampTz(values[ROW_EMITTED_AT]));
	former->tuple.t_len = p - (char *) row;
}

/* See delivery_row.h. */
HeapTuple
eb_delivery_form(EbDeliveryFormer *former, const Datum *values, const bool *nulls)
{
	if (!former->known)
		return heap_form_tuple(former->desc, unconstify(Datum *, values),
							   unconstify(bool *, nulls));
	form_row(former, values, nulls);
	return &former->tuple;
}
