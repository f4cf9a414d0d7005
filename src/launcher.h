/*
 * launcher.h
 *	  The static worker that keeps one relay per database.
 */
#ifndef EB_LAUNCHER_H
#define EB_LAUNCHER_H

extern void eb_launcher_init(void);

extern PGDLLEXPORT void eb_launcher_main(Datum arg);

#endif							/* EB_LAUNCHER_H */
