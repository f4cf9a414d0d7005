/*
 * utility.h
 *	  Commands on a whole database work although its relay is connected.
 */
#ifndef EB_UTILITY_H
#define EB_UTILITY_H

extern void eb_utility_init(void);

#endif							/* EB_UTILITY_H */
