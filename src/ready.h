/*
 * ready.h
 *	  Whether a relay may touch this database yet.
 */
#ifndef EB_READY_H
#define EB_READY_H

extern bool eb_ready(void);

#endif							/* EB_READY_H */
