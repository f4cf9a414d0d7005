/*
 * Exact questions about Jsonb numbers.
 */
#ifndef EB_SCHEMA_NUMBER_H
#define EB_SCHEMA_NUMBER_H

#include "utils/numeric.h"

#include "compat.h"

/* A number as mantissa * 10000^exponent, where the mantissa fits. */
typedef struct EbNumber
{
	Numeric		numeric;
	bool		small;			/* are the two below set? */
	int32		exponent;
	int64		mantissa;
} EbNumber;

extern bool eb_schema_number_is_integer(Numeric n);
extern bool eb_schema_number_int(Numeric n, int64 *value);
extern int	eb_schema_number_cmp_slow(const EbNumber *a, const EbNumber *b);
extern bool eb_schema_number_multiple_of(const EbNumber *a,
										 const EbNumber *divisor);
extern int	eb_schema_number_digits(Numeric n);

/* The on-disk form of numeric; see schema_number.c. */
#define EB_SIGN_MASK			0xC000
#define EB_SIGN_NEGATIVE		0x4000	/* long form */
#define EB_SIGN_SHORT			0x8000
#define EB_SIGN_SPECIAL		0xC000
#define EB_SHORT_NEGATIVE		0x2000
#define EB_SHORT_WEIGHT_SIGN	0x0040
#define EB_SHORT_WEIGHT_MASK	0x003F

#define EB_NUMBER_BASE				10000
#define EB_SMALL_DIGITS	4	/* 16 decimal digits: far from overflow */

typedef struct EbDigits
{
	const int16 *digits;
	int			n;
	int			weight;			/* of the first digit, in base 10000 */
	bool		negative;
	bool		special;		/* NaN, infinity: not in JSON */
} EbDigits;

static inline void
eb_number_digits(Numeric num, EbDigits *d)
{
	const uint16 *words = (const uint16 *) VARDATA_ANY(num);
	int			n = VARSIZE_ANY_EXHDR(num) / sizeof(uint16);
	uint16		header = words[0];

	d->special = false;
	if ((header & EB_SIGN_MASK) == EB_SIGN_SHORT)
	{
		d->negative = (header & EB_SHORT_NEGATIVE) != 0;
		d->weight = header & EB_SHORT_WEIGHT_MASK;
		if (header & EB_SHORT_WEIGHT_SIGN)
			d->weight |= ~EB_SHORT_WEIGHT_MASK;
		d->digits = (const int16 *) (words + 1);
		d->n = n - 1;
	}
	else if ((header & EB_SIGN_MASK) == EB_SIGN_SPECIAL)
	{
		d->special = true;
		d->n = 0;
	}
	else
	{
		d->negative = (header & EB_SIGN_MASK) == EB_SIGN_NEGATIVE;
		d->weight = (int16) words[1];
		d->digits = (const int16 *) (words + 2);
		d->n = n - 2;
	}
}

/* The number's digits, as mantissa and exponent where that is exact. */
static inline void
eb_schema_number_read(Numeric n, EbNumber *out)
{
	EbDigits	d;
	int64		mantissa = 0;

	eb_number_digits(n, &d);
	out->numeric = n;
	out->small = !d.special && d.n <= EB_SMALL_DIGITS;
	if (!out->small)
		return;
	for (int i = 0; i < d.n; i++)
		mantissa = mantissa * EB_NUMBER_BASE + d.digits[i];
	out->mantissa = d.n > 0 && d.negative ? -mantissa : mantissa;
	out->exponent = d.n > 0 ? d.weight - d.n + 1 : 0;
}

static inline int
eb_schema_number_cmp(const EbNumber *a, const EbNumber *b)
{
	if (a->small && b->small && a->exponent == b->exponent)
		return a->mantissa < b->mantissa ? -1 : a->mantissa > b->mantissa;
	return eb_schema_number_cmp_slow(a, b);
}

#endif							/* EB_SCHEMA_NUMBER_H */
