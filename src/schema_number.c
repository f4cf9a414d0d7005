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

#define SIGN_MASK			0xC000
#define SIGN_NEGATIVE		0x4000	/* long form */
#define SIGN_SHORT			0x8000
#define SIGN_SPECIAL		0xC000
#define SHORT_NEGATIVE		0x2000
#define SHORT_WEIGHT_SIGN	0x0040
#define SHORT_WEIGHT_MASK	0x003F

#define BASE				10000
#define MAX_SMALL_DIGITS	4	/* 16 decimal digits: far from overflow */

typedef struct EbDigits
{
	const int16 *digits;
	int			n;
	int			weight;			/* of the first digit, in base 10000 */
	bool		negative;
	bool		special;		/* NaN, infinity: not in JSON */
} EbDigits;

static inline void
read_digits(Numeric num, EbDigits *d)
{
	const uint16 *words = (const uint16 *) VARDATA_ANY(num);
	int			n = VARSIZE_ANY_EXHDR(num) / sizeof(uint16);
	uint16		header = words[0];

	d->special = false;
	if ((header & SIGN_MASK) == SIGN_SHORT)
	{
		d->negative = (header & SHORT_NEGATIVE) != 0;
		d->weight = header & SHORT_WEIGHT_MASK;
		if (header & SHORT_WEIGHT_SIGN)
			d->weight |= ~SHORT_WEIGHT_MASK;
		d->digits = (const int16 *) (words + 1);
		d->n = n - 1;
	}
	else if ((header & SIGN_MASK) == SIGN_SPECIAL)
	{
		d->special = true;
		d->n = 0;
	}
	else
	{
		d->negative = (header & SIGN_MASK) == SIGN_NEGATIVE;
		d->weight = (int16) words[1];
		d->digits = (const int16 *) (words + 2);
		d->n = n - 2;
	}
}

/* The number's digits, as mantissa and exponent where that is exact. */
void
eb_schema_number_read(Numeric n, EbNumber *out)
{
	EbDigits	d;
	int64		mantissa = 0;

	read_digits(n, &d);
	out->numeric = n;
	out->small = !d.special && d.n <= MAX_SMALL_DIGITS;
	if (!out->small)
		return;
	for (int i = 0; i < d.n; i++)
		mantissa = mantissa * BASE + d.digits[i];
	out->mantissa = d.n > 0 && d.negative ? -mantissa : mantissa;
	out->exponent = d.n > 0 ? d.weight - d.n + 1 : 0;
}

/* Is the value integral, however it is written (1.0, 1e3)? */
bool
eb_schema_number_is_integer(Numeric n)
{
	EbDigits	d;

	read_digits(n, &d);
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
		if (pg_mul_s64_overflow(*am, BASE, am))
			return false;
	for (; diff < 0; diff++)
		if (pg_mul_s64_overflow(*bm, BASE, bm))
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
		if (pg_mul_s64_overflow(*value, BASE, value))
			return false;
	for (; a.exponent < 0; a.exponent++)
		*value /= BASE;
	return true;
}

int
eb_schema_number_cmp(const EbNumber *a, const EbNumber *b)
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
	read_digits(DatumGetNumeric(DirectFunctionCall2(numeric_mod,
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

	read_digits(n, &d);
	return d.n;
}
