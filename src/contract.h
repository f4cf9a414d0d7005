/*
 * Contracts: the JSON Schemas that events of a type must satisfy.
 */
#ifndef EB_CONTRACT_H
#define EB_CONTRACT_H

#include "schema.h"

/*
 * Checks payload against the newest contract for type: its own, else that of
 * the most specific topic pattern that matches.  A violation ereports 23514
 * with the first one in the message and all of them (bounded) in DETAIL; so
 * does a type without a contract if eventbus.unknown_types is reject.
 * Allocates only in CurrentMemoryContext.  Costs next to nothing where no
 * contract is registered: the registry is cached in the backend, and
 * invalidated across sessions.
 */
extern void eb_contract_check(const char *type, Jsonb *payload);

/* The contract that applies to a type now; NULL if there is none. */
extern const EbSchema *eb_contract_find(const char *type, const char **name,
										int *version);

/* The registry's table. */
extern Oid	eb_contract_relid(void);

#define Anum_type_version_type			1
#define Anum_type_version_version		2
#define Anum_type_version_schema		3
#define Anum_type_version_compatibility	4
#define Anum_type_version_registered_at	5
#define Natts_type_version				5

#endif							/* EB_CONTRACT_H */
