/*
 * compat.h
 *	  Today's server API on every supported major version (15 to 18).
 *
 * Code elsewhere is written against the newest API; this file emulates it on
 * older servers.  It is the only place that tests PG_VERSION_NUM.
 */
#ifndef EB_COMPAT_H
#define EB_COMPAT_H

#include "access/genam.h"
#include "storage/proc.h"
#include "utils/relcache.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"			/* part of postgres.h before */
#endif

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "eventbus supports PostgreSQL 15 to 18"
#endif

/* PG 17 (024c5211) renamed the index of a process in ProcGlobal->allProcs. */
#if PG_VERSION_NUM < 170000
#define MyProcNumber	(MyProc->pgprocno)
#define GetPGProcByNumber(n)	(&ProcGlobal->allProcs[(n)])
#endif

/* PG 18 (0fbceae8) added an instrumentation argument to index_beginscan. */
#if PG_VERSION_NUM < 180000
#define eb_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#else
#define eb_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#endif

/* PG 16 (858e776c) gave stringToQualifiedNameList a soft-error argument. */
#if PG_VERSION_NUM < 160000
#define eb_qualified_name_list(s)	stringToQualifiedNameList((s))
#else
#define eb_qualified_name_list(s)	stringToQualifiedNameList((s), NULL)
#endif

/* PG 18 replaced pg_attribute_noreturn() by pg_noreturn, put in front. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* PG 16 (afbfc029) replaced the ownership checks by kind of object. */
#if PG_VERSION_NUM < 160000
#define eb_database_ownercheck(dboid, roleid) pg_database_ownercheck((dboid), (roleid))
#define eb_function_aclcheck(function, roleid) \
	pg_proc_aclcheck((function), (roleid), ACL_EXECUTE)
#else
#define eb_function_aclcheck(function, roleid) \
	object_aclcheck(ProcedureRelationId, (function), (roleid), ACL_EXECUTE)
#define eb_database_ownercheck(dboid, roleid) \
	object_ownercheck(DatabaseRelationId, (dboid), (roleid))
#endif

/* PG 16 (19d8e230) made table_tuple_update tell which indexes to update. */
#if PG_VERSION_NUM < 160000
typedef bool EbUpdateIndexes;
#define eb_indexes_need_update(u) (u)
#else
#include "access/tableam.h"
typedef TU_UpdateIndexes EbUpdateIndexes;
#define eb_indexes_need_update(u) ((u) != TU_None)
#endif

/* PG 16 (20428d344) has a read that errors when the file is too short. */
#if PG_VERSION_NUM < 160000
#define BufFileReadExact(file, ptr, size) \
	do { \
		if (BufFileRead(file, ptr, size) != (size)) \
			ereport(ERROR, \
					(errcode_for_file_access(), \
					 errmsg("could not read from temporary file: read too few bytes"))); \
	} while (0)
#endif

/* PG 18 asks whether a deferrable primary key will do. */
#if PG_VERSION_NUM < 180000
#define RelationGetPrimaryKeyIndex(rel, deferrable_ok) RelationGetPrimaryKeyIndex(rel)
#endif

/* PG 17 (d1b1c5d2) replaced the global IsBackgroundWorker. */
#if PG_VERSION_NUM < 170000
#define AmBackgroundWorkerProcess()	(IsBackgroundWorker)
#endif

#endif							/* EB_COMPAT_H */
