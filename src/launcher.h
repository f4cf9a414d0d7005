/*
 * launcher.h
 *	  The static worker that keeps one relay per database.
 */
#ifndef EB_LAUNCHER_H
#define EB_LAUNCHER_H

extern void eb_launcher_init(void);

/*
 * This database has the extension but, as it seems, no relay: makes sure that
 * the launcher knows.  Cheap, and safe in a commit callback.
 */
extern void eb_launcher_want(void);

extern PGDLLEXPORT void eb_launcher_main(Datum arg);

#endif							/* EB_LAUNCHER_H */
