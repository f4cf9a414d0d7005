/*
 * worker.h
 *	  What every background worker of ours does alike.
 */
#ifndef EB_WORKER_H
#define EB_WORKER_H

extern void eb_worker_connect(Oid dboid, const char *application_name);
extern void eb_worker_begin(const char *activity);
extern bool eb_worker_lock_extension(void);
extern void eb_worker_commit(void);

#endif							/* EB_WORKER_H */
