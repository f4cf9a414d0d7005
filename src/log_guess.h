/*
 * log_guess.h
 *	  Where the row of an offset lies, guessed; for log_scan.c only.
 */
#ifndef EB_LOG_GUESS_H
#define EB_LOG_GUESS_H

#include "executor/tuptable.h"
#include "storage/block.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* The offset of the log row in a slot. */
extern int64 eb_log_slot_offset(TupleTableSlot *slot);

/* The slot has a row of rel: guesses go on from there. */
extern void eb_log_guess_learn(Relation rel, TupleTableSlot *slot);

/*
 * Tries to find the row of an offset in rel, which has nblocks and stays locked;
 * false, with an empty slot, if a few looks did not show it: it may be there
 * nevertheless.
 */
extern bool eb_log_guess_fetch(Relation rel, BlockNumber nblocks, int64 offset,
							   Snapshot snapshot, TupleTableSlot *slot);

#endif							/* EB_LOG_GUESS_H */
