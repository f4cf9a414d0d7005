/*
 * Exact questions about Jsonb numbers.
 */
#ifndef EB_SCHEMA_NUMBER_H
#define EB_SCHEMA_NUMBER_H

#include "utils/numeric.h"

/* A number as mantissa * 10000^exponent, where the mantissa fits. */
typedef struct EbNumber
{
	Numeric		numeric;
	bool		small;			/* are the two below set? */
	int32		exponent;
	int64		mantissa;
} EbNumber;

extern void eb_schema_number_read(Numeric n, EbNumber *out);
extern bool eb_schema_number_is_integer(Numeric n);
extern bool eb_schema_number_int(Numeric n, int64 *value);
extern int	eb_schema_number_cmp(const EbNumber *a, const EbNumber *b);
extern bool eb_schema_number_multiple_of(const EbNumber *a,
										 const EbNumber *divisor);
extern int	eb_schema_number_digits(Numeric n);

#endif							/* EB_SCHEMA_NUMBER_H */
