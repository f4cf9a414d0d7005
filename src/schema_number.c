/*
 * schema_number.c
 *		Exact arithmetic on the numbers inside a Jsonb document.
 *
 * A Jsonb number is a numeric in its on-disk form, which pg_upgrade has kept
 * unchanged since 9.1: a 4-byte varlena header (never a short one, inside
 * jsonb), a 16-bit header, perhaps a 16-bit weight, then base-10000 digits
 * without leading or trailing zero digits.  Reading that form directly makes
 * the common case (up to 16 decimal digits) an integer operation; all others go
 * through numeric's own functions, so the answer is exact either way.
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "schema_number.h"

/* Is the value integral, however it is written (1.0, 1e3)? */
bool
eb_schema_number_is_integer(Numeric n)
{
	EbDigits	d;

	eb_number_digits(n, &d);
	if (d.special)
		return false;
	for (int i = Max(d.weight + 1, 0); i < d.n; i++)
		if (d.digits[i] != 0)
			return false;
	return true;
}

/* Brings a and b to one exponent; false if the mantissas overflow then. */
static bool
align(const EbNumber *a, const EbNumber *b, int64 *am, int64 *bm)
{
	int			diff;

	if (!a->small || !b->small)
		return false;
	*am = a->mantissa;
	*bm = b->mantissa;
	diff = a->exponent - b->exponent;
	if (a->mantissa == 0 || b->mantissa == 0)
		diff = 0;				/* zero has any exponent, the sign decides */
	for (; diff > 0; diff--)
		if (pg_mul_s64_overflow(*am, EB_NUMBER_BASE, am))
			return false;
	for (; diff < 0; diff++)
		if (pg_mul_s64_overflow(*bm, EB_NUMBER_BASE, bm))
			return false;
	return true;
}

/* The value as an int64, if it is one. */
bool
eb_schema_number_int(Numeric n, int64 *value)
{
	EbNumber	a;

	eb_schema_number_read(n, &a);
	if (!a.small || !eb_schema_number_is_integer(n))
		return false;
	*value = a.mantissa;
	for (; a.exponent > 0; a.exponent--)
		if (pg_mul_s64_overflow(*value, EB_NUMBER_BASE, value))
			return false;
	for (; a.exponent < 0; a.exponent++)
		*value /= EB_NUMBER_BASE;
	return true;
}

/* The comparison where mantissas of one exponent do not settle it. */
int
eb_schema_number_cmp_slow(const EbNumber *a, const EbNumber *b)
{
	int64		am;
	int64		bm;

	if (align(a, b, &am, &bm))
		return am < bm ? -1 : am > bm;
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp,
											 NumericGetDatum(a->numeric),
											 NumericGetDatum(b->numeric)));
}

/* Is a an integral multiple of divisor, which is greater than 0? */
bool
eb_schema_number_multiple_of(const EbNumber *a, const EbNumber *divisor)
{
	int64		am;
	int64		dm;
	EbDigits	rest;

	if (a->small && a->mantissa == 0)
		return true;
	if (align(a, divisor, &am, &dm))
		return am % dm == 0;
	eb_number_digits(DatumGetNumeric(DirectFunctionCall2(numeric_mod,
													NumericGetDatum(a->numeric),
													NumericGetDatum(divisor->numeric))),
				&rest);
	return rest.n == 0 && !rest.special;
}

/* How many base-10000 digits the number has (a bound on the cost of using it) */
int
eb_schema_number_digits(Numeric n)
{
	EbDigits	d;

	eb_number_digits(n, &d);
	return d.n;
}
