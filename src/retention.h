/*
 * retention.h
 *	  Dropping what the log need not keep any longer.
 */
#ifndef EB_RETENTION_H
#define EB_RETENTION_H

/*
 * Removes, or makes compact, at most one segment, in the current transaction,
 * which is to do nothing else: its locks keep readers away until it ends.
 */
extern void eb_retention_run(void);

#endif							/* EB_RETENTION_H */
