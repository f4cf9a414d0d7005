/*
 * relay_worker.h
 *	  The background worker that relays the events of one database.
 */
#ifndef EB_RELAY_WORKER_H
#define EB_RELAY_WORKER_H

extern PGDLLEXPORT void eb_relay_worker_main(Datum arg);

#endif							/* EB_RELAY_WORKER_H */
