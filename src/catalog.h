/*
 * catalog.h
 *	  The oids of the extension and of its tables in this database.
 */
#ifndef EB_CATALOG_H
#define EB_CATALOG_H

#include "utils/relcache.h"

typedef struct EbCatalog
{
	Oid			extension;
	Oid			owner;			/* the extension's; whose rights our SQL uses */
	Oid			api_schema;		/* where eb_emit and its kin live */
	Oid			schema;			/* eventbus */
	Oid			event;
	Oid			progress;
	Oid			progress_position;	/* index */
	Oid			progress_at;	/* index */
	Oid			dedup;
	Oid			once;
	Oid			subscription;
	Oid			seek;
	Oid			delivery;
	Oid			delivery_seq;	/* index */
	Oid			delivery_lane;	/* index */
	Oid			delivery_number;	/* sequence */
	Oid			privilege;
} EbCatalog;

extern const EbCatalog *eb_catalog(void);
extern const EbCatalog *eb_catalog_if_installed(void);

/* Run SQL as the extension's owner, with nothing of the caller's search_path. */
typedef struct EbOwnerScope
{
	Oid			userid;
	int			sec_context;
	int			guc_nest;
} EbOwnerScope;

extern void eb_owner_begin(EbOwnerScope *scope);
extern void eb_owner_end(EbOwnerScope *scope);

#endif							/* EB_CATALOG_H */
