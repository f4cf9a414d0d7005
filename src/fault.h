/*
 * fault.h
 *	  Seeded bugs, and points where a process kills itself, for the fault matrix.
 *
 * Only a build with -DEB_FAULTS has them (test/faults); in every other they are
 * nothing.  The setting eventbus.fault selects a bug.  A point kills the process
 * that comes there first while the data directory has a file eventbus.kill.NAME,
 * and takes the file away.
 */
#ifndef EB_FAULT_H
#define EB_FAULT_H

#ifdef EB_FAULTS

#include <signal.h>
#include <unistd.h>

extern char *eb_fault;

#define EB_FAULT(name)	(eb_fault != NULL && strcmp(eb_fault, name) == 0)

static inline void
eb_fault_point(const char *name)
{
	char		path[64];

	snprintf(path, sizeof(path), "eventbus.kill.%s", name);
	if (unlink(path) == 0)
		kill(getpid(), SIGKILL);
}

#else

#define EB_FAULT(name)	false
#define eb_fault_point(name) ((void) 0)

#endif

#endif							/* EB_FAULT_H */
