/*
 * What a fuzz target needs besides the code under test.
 */
#ifndef EB_FUZZ_STUBS_H
#define EB_FUZZ_STUBS_H

#include <setjmp.h>

extern sigjmp_buf fuzz_error;
extern void fuzz_reset(void);

#endif							/* EB_FUZZ_STUBS_H */
