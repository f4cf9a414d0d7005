/*
 * shmem.h
 *	  Shared state: one slot a database, one a subscription, one a process.
 *
 * Lock protocol.  The directory LWLock guards which slot belongs to whom; it is
 * held for short loops only, never across I/O.  Everything that a hot path
 * touches is behind a spinlock of its own slot or is an atomic.  Spinlocks are
 * held for a few instructions and never nested, except that nobody takes one
 * while holding another.
 */
#ifndef EB_SHMEM_H
#define EB_SHMEM_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/spin.h"

#include "eventbus.h"

/*
 * Lanes of a subscription: one a priority (lane 0 is priority 9), two for what
 * is due later, ordered by the due time (deliver_at; retries and what comes back
 * from the dead letters), and the hash lanes of an ordered subscription.
 */
#define EB_LANE_PRIORITIES	10
#define EB_LANE_DELAYED		10
#define EB_LANE_RETRY		11
#define EB_LANE_ORDERED		16
#define EB_ORDERED_LANES	64
#define EB_LANE_COUNT		(EB_LANE_ORDERED + EB_ORDERED_LANES)

#define eb_lane_timed(lane)	((lane) == EB_LANE_DELAYED || (lane) == EB_LANE_RETRY)

/* A lane's head or avail when nothing is in the lane. */
#define EB_LANE_EMPTY		PG_INT64_MAX

typedef struct EbLane
{
	int64		head;			/* every row below this position is dead */
	int64		avail;			/* every row below is dead, leased or locked */
	uint32		generation;		/* counts what lowered one of the two */

	/* the lowest that was asked for: after the generation since[0], and before
	 * that after since[1] */
	uint32		since[2];
	int64		lowest[2];

	uint32		turns;			/* claims since one began at head */
	uint32		rest;			/* how many of them are to pass */
} EbLane;

/*
 * Delivery latency: bucket i counts what took up to 2^i ms, the last one the
 * rest.
 */
#define EB_LATENCY_BUCKETS	22

typedef struct EbLatency
{
	int64		counts[EB_LATENCY_BUCKETS];
	int64		sum_us;
} EbLatency;

typedef struct EbSubShared
{
	/* changed under the directory lock and mutex; either suffices to read */
	int			db;				/* index of the database slot, -1 = free */
	int32		id;				/* eventbus.subscription.id, never reused */

	slock_t		mutex;			/* guards the rest up to the atomics */
	TimestampTz next_due;		/* no lease below avail ends, and no ordered
								 * retry comes due, before this */
	EbLane		lanes[EB_LANE_COUNT];
	TimestampTz rated_at;		/* of the last sample of the two rates */
	int64		rated_routed;	/* the counters then */
	int64		rated_acked;
	double		routed_rate;	/* events a second, smoothed */
	double		acked_rate;

	pg_atomic_uint32 waiters;	/* processes asleep in eb_fetch */
	pg_atomic_uint32 claims;	/* counts them, for the ageing of priorities */
	pg_atomic_uint64 routed;	/* events put into deliveries */
	pg_atomic_uint64 fetched;	/* events handed out, every attempt */
	pg_atomic_uint64 acked;
	pg_atomic_uint64 nacked;
	pg_atomic_uint64 expired;	/* leases taken over */
	pg_atomic_uint64 retried;	/* events scheduled for another attempt */
	pg_atomic_uint64 dead;		/* events that became dead letters */
	pg_atomic_uint64 filter_errors; /* evaluations that failed: no match */
	pg_atomic_uint64 latency[EB_LATENCY_BUCKETS];	/* first deliveries */
	pg_atomic_uint64 latency_sum_us;
} EbSubShared;

typedef enum EbRelayState
{
	EB_RELAY_UNKNOWN,			/* not looked at yet: the launcher will */
	EB_RELAY_ABSENT,			/* the database lacks the extension */
	EB_RELAY_STARTING,
	EB_RELAY_RUNNING,
	EB_RELAY_FAILED				/* waits for restart_at */
} EbRelayState;

/* A relay's last error, cut to this. */
#define EB_RELAY_ERROR_LEN	160

/*
 * A database without a slot whose first relay is on its way: it gets a slot if
 * the relay finds the extension.
 */
#define EB_PROBES			4

/* Holds on databases without a slot; one that finds no room does without. */
#define EB_PROBE_HOLDS		32

typedef struct EbProbe
{
	Oid			dboid;			/* InvalidOid = free; directory lock */
	EbRelayState state;			/* STARTING, ABSENT or FAILED; directory lock */
} EbProbe;

/*
 * Tables that take turns (store.h).  The state is read by all; everything is
 * written by who holds the lock of relay passes, and the rest is read there too.
 */
typedef struct EbRing
{
	pg_atomic_uint32 state;		/* 0 = nothing known */
	bool		sealed[EB_STORES];	/* nobody can insert there any more */
	TimestampTz left_at[EB_STORES]; /* when it was current last */
	TimestampTz emptied_at[EB_STORES];
	TransactionId emptied_xid[EB_STORES];	/* whose snapshots see it empty */
} EbRing;

typedef struct EbDb
{
	/* changed under the directory lock, exclusive; stable for who is attached */
	Oid			dboid;			/* InvalidOid = free */
	Oid			extoid;			/* pg_extension.oid, InvalidOid = unknown yet */

	slock_t		mutex;			/* guards the sequencer, up to the next gap */
	bool		sequenced;		/* next_offset is above all that is on disk */
	int64		next_offset;	/* the next to be reserved */
	int64		first_offset;	/* what it was when the sequencer started */
	int64		kept_offset;	/* highest that was committed; no restart falls below */
	int			inflight_head;	/* process slots between reserve and the end of */
	int			inflight_tail;	/* their commit, by rising offset; -1 = none */
	XLogRecPtr	commit_lsn;		/* end of the latest commit record with events */

	/* launcher and relay: written by the launcher and the relay itself, under
	 * the directory lock */
	EbRelayState relay_state;
	pid_t		relay_pid;		/* 0 = not running */
	int			relay_procno;	/* -1 = not running */
	TimestampTz relay_started_at;	/* of the running or the last relay */
	TimestampTz relay_restart_at;
	int			relay_failures; /* in a row */
	bool		relay_wanted;	/* the extension was installed since the relay
								 * was started, so what it saw may be old */
	int			holders;		/* sessions that want the relay away (DROP
								 * DATABASE and the like) */
	char		relay_error[EB_RELAY_ERROR_LEN];	/* mutex; "" = none since the
													 * relay was last healthy */

	pg_atomic_uint32 relay_requests;	/* counts what asks for a pass without
										 * being in the log */
	pg_atomic_uint32 awaiters;	/* processes asleep until something is settled
								 * or the log has grown */
	pg_atomic_uint32 relay_sleeping;	/* 1: an emitter must set its latch */
	pg_atomic_uint64 routed;	/* the last committed pass' position */
	pg_atomic_uint64 told_end;	/* every process can find the segments below */
	pg_atomic_uint64 passes;
	pg_atomic_uint64 last_pass_at;	/* TimestampTz */
	pg_atomic_uint64 emitted;	/* committed events */
	pg_atomic_uint64 duplicates;	/* skipped at the door */

	EbRing		queue;
	EbRing		progress;
} EbDb;

/* One process; written by its owner only, links under the database's mutex. */
typedef struct EbBackend
{
	int			db;				/* in-flight in this database slot, -1 = not */
	int64		first_offset;	/* of the reserved run */
	int64		last_offset;
	int			prev;
	int			next;
	pg_atomic_uint32 waiting_for;	/* subscription slot + 1; 0 = not waiting */
	pg_atomic_uint32 awaiting;	/* see shmem_await.c; 0 = nothing */
	int			awaited_db;		/* database slot, while awaiting */
} EbBackend;

typedef struct EbShmem
{
	struct LWLock *directory;
	int			ndbs;
	int			nsubs;
	int			nbackends;
	pid_t		launcher_pid;	/* directory lock */
	int			launcher_procno;	/* directory lock; -1 = none */
	bool		no_worker_slot; /* the last start failed; directory lock */
	EbProbe		probes[EB_PROBES];
	Oid			probe_holds[EB_PROBE_HOLDS];	/* directory lock */
	EbDb	   *dbs;
	EbSubShared *subs;
	EbBackend  *backends;
} EbShmem;

extern PGDLLIMPORT EbShmem *eb_shmem;

/* shmem.c: layout and directory */
extern void eb_shmem_init(void);
extern void eb_shmem_require(void);
extern EbDb *eb_shmem_db(void);
extern EbDb *eb_shmem_db_find(Oid dboid, bool create);
extern void eb_shmem_db_free(Oid dboid);
extern EbSubShared *eb_shmem_sub(EbDb *db, int32 id);
extern void eb_shmem_subs_retain(EbDb *db, const int32 *ids, int n);

/* shmem_sequencer.c: decision 1 */
extern bool eb_sequencer_ready(EbDb *db);
extern void eb_sequencer_start(EbDb *db, int64 next_offset);
extern int64 eb_sequencer_reserve(EbDb *db, int64 n);
extern void eb_sequencer_release(bool committed);
extern int64 eb_sequencer_safe_locked(const EbDb *db);
extern int64 eb_sequencer_safe(EbDb *db);
extern int64 eb_sequencer_next(EbDb *db);
extern int64 eb_sequencer_first(EbDb *db);

/* shmem_lane.c: head hints and wake-ups */
extern void eb_lane_read(EbSubShared *sub, int32 id, int lane, EbLane *copy);
extern void eb_lane_begin(EbSubShared *sub, int32 id, int lane, EbLane *copy);
extern void eb_lane_rest(EbSubShared *sub, int32 id, int lane, uint32 claims);
extern void eb_lane_forget(EbLane *l);
extern void eb_lane_advance(EbSubShared *sub, int32 id, int lane,
							const EbLane *seen, int64 head, int64 avail);
extern uint32 eb_lane_lower(EbSubShared *sub, int32 id, int lane, int64 position);
extern void eb_lane_due(EbSubShared *sub, int32 id, TimestampTz due);
extern TimestampTz eb_lane_take_due(EbSubShared *sub, int32 id, TimestampTz now);
extern TimestampTz eb_lane_next_due(EbSubShared *sub, int32 id);
extern int	eb_lane_oldest(EbSubShared *sub, int32 id);
extern void eb_lane_rewind(EbSubShared *sub, int32 id);
extern bool eb_wait_begin(EbSubShared *sub);
extern EbSubShared *eb_wait_end(void);
extern void eb_wake_consumers(EbSubShared *sub, int n);
extern void eb_wake_relay(EbDb *db);
extern void eb_wake_launcher(void);

/* shmem_await.c: who waits for a settlement, or for the log */
extern bool eb_await_begin(EbDb *db, EbSubShared *sub);
extern bool eb_await_log_begin(EbDb *db);
extern void eb_await_end(void);
extern void eb_wake_settled(EbSubShared *sub);
extern void eb_wake_awaiters(int db);
extern void eb_wake_routed(EbDb *db);
extern void eb_wake_committed(EbDb *db);

/* shmem_worker.c: launcher, relays, and who wants a relay away */
typedef struct EbRelayInfo
{
	bool		slotted;		/* the database has a slot */
	EbRelayState state;
	pid_t		pid;
	TimestampTz started_at;
	TimestampTz restart_at;
	int			failures;
	int			holders;
	char		error[EB_RELAY_ERROR_LEN];
} EbRelayInfo;

typedef enum EbHoldKind
{
	EB_HOLD_NONE,
	EB_HOLD_SLOT,				/* counted in the database's slot */
	EB_HOLD_PROBE				/* it has none */
} EbHoldKind;

extern void eb_shmem_launcher_attach(void);
extern pid_t eb_shmem_launcher_pid(void);
extern void eb_shmem_worker_slots(bool exhausted);
extern int	eb_shmem_dboids(Oid *dboids);
extern void eb_shmem_relay_read(Oid dboid, EbRelayInfo *info);
extern bool eb_shmem_relay_starting(Oid dboid);
extern void eb_shmem_relay_failed(Oid dboid, int failures, TimestampTz restart_at);
extern void eb_shmem_relay_healthy(Oid dboid);
extern void eb_shmem_relay_retry(Oid dboid);
extern bool eb_shmem_relay_claim(EbDb *db);
extern void eb_shmem_relay_leaving(EbRelayState state);
extern void eb_shmem_relay_absent(Oid dboid);
extern bool eb_shmem_relay_error(const char *message);
extern void eb_shmem_probe_end(Oid dboid);
extern bool eb_shmem_want(void);
extern void eb_want_relay(void);
extern EbHoldKind eb_shmem_hold(Oid dboid);
extern void eb_shmem_unhold(Oid dboid, EbHoldKind kind);
extern bool eb_shmem_relay_gone(Oid dboid, pid_t *pid);

/* shmem_stat.c: copies for the statistics */
typedef struct EbDbStat
{
	Oid			dboid;
	bool		sequenced;		/* the two offsets are known */
	int64		safe_offset;
	int64		next_offset;
	int64		routed;
	int64		passes;
	int64		emitted;
	int64		duplicates;
	TimestampTz last_pass_at;	/* 0 = none yet */
	EbRelayInfo relay;
} EbDbStat;

typedef struct EbSubStat
{
	int32		id;
	int32		waiters;
	int64		routed;
	int64		fetched;
	int64		acked;
	int64		nacked;
	int64		expired;
	int64		retried;
	int64		dead;
	int64		filter_errors;
	double		routed_rate;
	double		acked_rate;
	EbLatency	latency;
} EbSubStat;

typedef struct EbWaitStat
{
	pid_t		pid;
	int32		subscription_id;
} EbWaitStat;

extern int	eb_latency_bucket(int64 us);
extern void eb_latency_add(EbSubShared *sub, const EbLatency *latency);
extern void eb_rate_sample(EbSubShared *sub, int32 id, TimestampTz now);
extern bool eb_shmem_stat_no_worker_slot(void);
extern EbDbStat *eb_shmem_stat_dbs(int *n);
extern EbSubStat *eb_shmem_stat_subs(Oid dboid, int *n);
extern EbWaitStat *eb_shmem_stat_waits(Oid dboid, int *n);

#endif							/* EB_SHMEM_H */
