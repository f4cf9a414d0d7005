/*
 * eventbus.c
 *	  Where the server meets the library: _PG_init and nothing else.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "guc.h"
#include "launcher.h"
#include "queue.h"
#include "outbox.h"
#include "shmem.h"
#include "utility.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	eb_guc_init();

	/* Loaded late there is no shared memory; every entry point says so. */
	if (process_shared_preload_libraries_in_progress)
	{
		eb_shmem_init();
		eb_launcher_init();
		eb_utility_init();
		eb_queue_xact_init();
		eb_outbox_init();
	}
}
