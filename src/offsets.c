/*
 * offsets.c
 *	  A list of offsets as bytes: base-128 distances, low bits first.
 *
 * Pure functions.  Distances are taken modulo 2^64, so that every list comes back
 * and no sequence of bytes does more than give wrong offsets.
 */
#include "postgres.h"

#include "offsets.h"

Size
eb_offsets_encode(const int64 *offsets, int n, int64 first, unsigned char *out)
{
	unsigned char *p = out;
	uint64		prev = first;

	for (int i = 0; i < n; i++)
	{
		uint64		delta = (uint64) offsets[i] - prev;

		while (delta >= 0x80)
		{
			*p++ = (unsigned char) (delta | 0x80);
			delta >>= 7;
		}
		*p++ = (unsigned char) delta;
		prev = offsets[i];
	}
	return p - out;
}

bool
eb_offsets_decode(const unsigned char *in, Size len, int64 first, int n, int64 *offsets)
{
	const unsigned char *end = in + len;
	uint64		prev = first;

	for (int i = 0; i < n; i++)
	{
		uint64		delta = 0;

		for (int shift = 0;; shift += 7)
		{
			if (in >= end || shift > 63)
				return false;
			delta |= (uint64) (*in & 0x7f) << shift;
			if ((*in++ & 0x80) == 0)
				break;
		}
		prev += delta;
		offsets[i] = (int64) prev;
	}
	return true;
}
