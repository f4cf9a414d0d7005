/*
 * catalog.h
 *	  The oids of the extension and of its tables in this database.
 */
#ifndef EB_CATALOG_H
#define EB_CATALOG_H

#include "utils/relcache.h"

#include "eventbus.h"

/* A table of several that take turns, see store.h. */
typedef struct EbStoreOids
{
	Oid			table;
	Oid			index[2];
} EbStoreOids;

#define EB_VERSION_LEN	32

typedef struct EbCatalog
{
	Oid			extension;
	char		version[EB_VERSION_LEN];	/* of the SQL */
	bool		served;			/* the library works with that version */
	Oid			owner;			/* the extension's; whose rights our SQL uses */
	Oid			api_schema;		/* where eb_emit and its kin live */
	Oid			schema;			/* eventbus */
	Oid			event;
	EbStoreOids progress[EB_STORES];	/* indexes: position, at */
	Oid			dedup;
	Oid			once;
	Oid			subscription;
	Oid			seek;
	Oid			delivery;		/* partitioned, into: */
	EbStoreOids queue[EB_STORES];	/* indexes: seq, lane */
	Oid			delivery_number;	/* sequence */
	Oid			privilege;
} EbCatalog;

extern const EbCatalog *eb_catalog(void);
extern const EbCatalog *eb_catalog_if_installed(void);

/*
 * The extension was installed or updated in this transaction: every session reads
 * the catalog anew, this one at once.  Errors if the library does not serve it.
 */
extern void eb_catalog_renew(void);

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
