/*
 * grant.h
 *	  Rights: what eb_grant has granted, and checking it.
 *
 * Patterns restrict once there are any: while nobody holds a privilege by a
 * pattern, EXECUTE on the function is all it takes.  The extension's owner, its
 * members and superusers are never restricted.
 */
#ifndef EB_GRANT_H
#define EB_GRANT_H

typedef enum EbPrivilege
{
	EB_PRIVILEGE_EMIT,
	EB_PRIVILEGE_CONSUME,
	EB_PRIVILEGE_SUBSCRIBE,
	EB_PRIVILEGE_READ			/* who may subscribe may read */
} EbPrivilege;

#define EB_PRIVILEGES	(EB_PRIVILEGE_READ + 1)

/* Errors with 42501 unless the current user may emit events of this type. */
extern void eb_grant_check_emit(const char *type, int len);

/* The same for reading one event from the log. */
extern void eb_grant_check_read(const char *type, int len);

/*
 * Errors with 42501 unless the current user may subscribe to, or read, whatever
 * these topics let through.
 */
extern void eb_grant_check_topics(EbPrivilege privilege, int n, const char *const *patterns);

/* Whether user was granted this subscription. */
extern bool eb_grant_may_consume(Oid user, int32 subscription_id);

#endif							/* EB_GRANT_H */
