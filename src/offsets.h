/*
 * offsets.h
 *	  A list of offsets as bytes.
 */
#ifndef EB_OFFSETS_H
#define EB_OFFSETS_H

/* Bytes that n encoded offsets take at most. */
#define EB_OFFSETS_SIZE(n)	((Size) (n) * 10)

/* Writes the distances from one offset to the next, the first from first; returns the length. */
extern Size eb_offsets_encode(const int64 *offsets, int n, int64 first, unsigned char *out);

/* Reads n offsets; false if the bytes hold fewer. */
extern bool eb_offsets_decode(const unsigned char *in, Size len, int64 first, int n,
							  int64 *offsets);

#endif							/* EB_OFFSETS_H */
