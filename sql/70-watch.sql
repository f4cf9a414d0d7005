-- Watching: counters from shared memory, views for \watch, health and metrics.  Payloads are never shown.

CREATE FUNCTION eventbus.library(OUT version text, OUT serves boolean)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'eventbus_library';
COMMENT ON FUNCTION eventbus.library() IS 'the version of the loaded library, and whether it works with that of the SQL';

CREATE FUNCTION eventbus.stat_server(
    OUT preloaded boolean, OUT launcher_pid int, OUT no_worker_slot boolean) RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eventbus_stat_server';
COMMENT ON FUNCTION eventbus.stat_server() IS 'whether the library is preloaded, and the launcher';

CREATE FUNCTION eventbus.stat_database(
    OUT datid oid, OUT relay_state text, OUT relay_pid int, OUT relay_started_at timestamptz,
    OUT relay_restart_at timestamptz, OUT relay_failures int, OUT holders int, OUT relay_error text,
    OUT safe_offset bigint, OUT last_offset bigint, OUT routed bigint, OUT passes bigint,
    OUT last_pass_at timestamptz, OUT emitted bigint, OUT duplicates bigint, OUT is_current boolean)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eventbus_stat_database';
COMMENT ON FUNCTION eventbus.stat_database() IS 'relay and counters of every database that uses eventbus';

CREATE FUNCTION eventbus.stat_subscription(
    OUT subscription_id int, OUT waiting int, OUT routed bigint, OUT fetched bigint, OUT acked bigint,
    OUT nacked bigint, OUT expired bigint, OUT retried bigint, OUT dead bigint, OUT filter_errors bigint,
    OUT routed_s double precision, OUT acked_s double precision, OUT latency bigint[], OUT latency_sum double precision)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eventbus_stat_subscription';
COMMENT ON FUNCTION eventbus.stat_subscription() IS 'counters of this database''s subscriptions, in events, since the server''s start';

CREATE FUNCTION eventbus.stat_waiting(OUT pid int, OUT subscription_id int) RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eventbus_stat_waiting';
COMMENT ON FUNCTION eventbus.stat_waiting() IS 'sessions of this database that wait in eb_fetch';

CREATE FUNCTION eventbus.event_age(event_id uuid) RETURNS double precision
LANGUAGE sql STABLE PARALLEL SAFE
RETURN pg_catalog.round((EXTRACT(epoch FROM pg_catalog.clock_timestamp())
    - ('x' || pg_catalog.left(pg_catalog.replace(event_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0), 3);
COMMENT ON FUNCTION eventbus.event_age(uuid) IS 'seconds since an event was emitted, by its UUIDv7';

CREATE FUNCTION eventbus.offset_age(at_or_after bigint) RETURNS double precision
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT eventbus.event_age(e.event_id) FROM eventbus.event e
    WHERE e."offset" >= at_or_after ORDER BY e."offset" LIMIT 1;
END;
COMMENT ON FUNCTION eventbus.offset_age(bigint) IS 'age in seconds of the first event at or after an offset, NULL if there is none';

CREATE VIEW @extschema@.eb_stat_relay AS
SELECT d.datname AS database, s.relay_state AS state, s.relay_pid AS pid,
       pg_catalog.date_trunc('second', CASE WHEN s.relay_pid IS NOT NULL
           THEN pg_catalog.clock_timestamp() - s.relay_started_at END) AS up,
       s.passes,
       pg_catalog.round(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - s.last_pass_at), 1) AS last_pass_s,
       s.routed AS position, GREATEST(s.safe_offset - s.routed, 0) AS lag, s.relay_failures AS failures,
       pg_catalog.left(s.relay_error, 40) AS error
FROM eventbus.stat_database() s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid;
COMMENT ON VIEW @extschema@.eb_stat_relay IS 'the relay of every database of the cluster that uses eventbus';

CREATE VIEW @extschema@.eb_stat_bus AS
WITH bus AS (
    SELECT COALESCE(s.safe_offset, (SELECT pg_catalog.max(e."offset") FROM eventbus.event e), 0) AS last_offset,
           GREATEST(s.routed, (SELECT pg_catalog.max(p.position) FROM eventbus.progress p), 0) AS position,
           COALESCE(s.emitted, 0) AS emitted, COALESCE(s.duplicates, 0) AS duplicates
    FROM (VALUES (1)) one LEFT JOIN eventbus.stat_database() s ON s.is_current)
SELECT b.last_offset, b.position, GREATEST(b.last_offset - b.position, 0) AS lag,
       CASE WHEN b.last_offset > b.position THEN COALESCE(eventbus.offset_age(b.position + 1), 0) ELSE 0 END AS lag_s,
       b.emitted, b.duplicates,
       (SELECT pg_catalog.count(*) FROM eventbus.subscription) AS subscriptions,
       (SELECT COALESCE(pg_catalog.sum(d.events), 0) FROM eventbus.delivery d) AS queued,
       (SELECT COALESCE(pg_catalog.sum(s.waiting), 0) FROM eventbus.stat_subscription() s) AS waiting
FROM bus b;
COMMENT ON VIEW @extschema@.eb_stat_bus IS 'this database''s bus in one row: log, relay lag, queue; counters since the server''s start';

-- What waits, by subscription.  An event of the queue is leased, or due later, or queued.
CREATE VIEW @extschema@.eb_stat_subscription AS
SELECT u.name, CASE WHEN u.paused THEN 'paused' ELSE 'active' END AS state,
       COALESCE(q.queued, 0) AS queued, COALESCE(q.leased, 0) AS leased, COALESCE(q.retrying, 0) AS retrying,
       COALESCE(q.delayed, 0) AS delayed,
       (SELECT pg_catalog.count(*) FROM eventbus.dead_letter l WHERE l.subscription = u.name) AS dead,
       COALESCE(eventbus.offset_age(q.first_offset), 0) AS oldest_s,
       pg_catalog.round(COALESCE(s.routed_s, 0)::numeric, 1) AS in_s,
       pg_catalog.round(COALESCE(s.acked_s, 0)::numeric, 1) AS out_s, COALESCE(s.waiting, 0) AS waiting
FROM eventbus.subscription u
LEFT JOIN (SELECT d.subscription_id,
                  pg_catalog.sum(d.events) FILTER (WHERE NOT d.leased AND NOT d.later) AS queued,
                  pg_catalog.sum(d.events) FILTER (WHERE d.leased) AS leased,
                  pg_catalog.sum(d.events) FILTER (WHERE NOT d.leased AND d.later AND d.tried) AS retrying,
                  pg_catalog.sum(d.events) FILTER (WHERE NOT d.leased AND d.later AND NOT d.tried) AS delayed,
                  pg_catalog.min(d.first_offset) FILTER (WHERE NOT d.later) AS first_offset
           FROM (SELECT subscription_id, events, first_offset,
                        COALESCE(lease_until > pg_catalog.clock_timestamp(), false) AS leased,
                        COALESCE(due_at > pg_catalog.clock_timestamp(), false) AS later,
                        attempt > 0 OR replays > 0 AS tried
                 FROM eventbus.delivery) d
           GROUP BY d.subscription_id) q ON q.subscription_id = u.id
LEFT JOIN eventbus.stat_subscription() s ON s.subscription_id = u.id;
COMMENT ON VIEW @extschema@.eb_stat_subscription IS 'what each durable subscription has waiting, in events; in_s and out_s are events a second, averaged over about ten seconds';

-- Bucket i of a latency histogram has what took up to 2^(i-1) ms; the last has the rest.
CREATE FUNCTION eventbus.latency_quantile(counts bigint[], quantile double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT 2 ^ (pg_catalog.min(c.i) - 1)
    FROM (SELECT b.i, pg_catalog.sum(b.n) OVER (ORDER BY b.i) AS below, pg_catalog.sum(b.n) OVER () AS total
          FROM pg_catalog.unnest(counts) WITH ORDINALITY b(n, i)) c
    WHERE c.total > 0 AND c.below >= c.total * quantile;
END;
COMMENT ON FUNCTION eventbus.latency_quantile(bigint[], double precision) IS 'an upper bound in milliseconds of a quantile of a latency histogram, NULL if that is empty';

CREATE VIEW @extschema@.eb_stat_delivery AS
SELECT u.name, COALESCE(s.routed, 0) AS routed, COALESCE(s.fetched, 0) AS fetched, COALESCE(s.acked, 0) AS acked,
       COALESCE(s.nacked, 0) AS nacked, COALESCE(s.retried, 0) AS retried, COALESCE(s.expired, 0) AS expired,
       COALESCE(s.dead, 0) AS dead, eventbus.latency_quantile(s.latency, 0.5) AS p50_ms,
       eventbus.latency_quantile(s.latency, 0.99) AS p99_ms
FROM eventbus.subscription u LEFT JOIN eventbus.stat_subscription() s ON s.subscription_id = u.id;
COMMENT ON VIEW @extschema@.eb_stat_delivery IS 'what each durable subscription has done since the server''s start, in events; p50_ms and p99_ms bound the time from emission, or from when it was due, to the first delivery';

CREATE VIEW @extschema@.eb_stat_consumer AS
SELECT u.name AS subscription, d.consumer, 'working' AS state, pg_catalog.count(*) AS deliveries,
       pg_catalog.sum(d.events) AS events, pg_catalog.max(d.attempt) AS attempt,
       pg_catalog.round(EXTRACT(epoch FROM pg_catalog.min(d.lease_until) - pg_catalog.clock_timestamp()), 1) AS lease_s
FROM eventbus.delivery d JOIN eventbus.subscription u ON u.id = d.subscription_id
WHERE d.lease_until > pg_catalog.clock_timestamp()
GROUP BY u.name, d.consumer
UNION ALL
SELECT u.name, COALESCE(NULLIF(a.application_name, ''), '-') || '/' || w.pid, 'waiting', 0, 0, NULL, NULL
FROM eventbus.stat_waiting() w JOIN eventbus.subscription u ON u.id = w.subscription_id
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid;
COMMENT ON VIEW @extschema@.eb_stat_consumer IS 'consumers that hold leases or wait in eb_fetch; lease_s is the time until the first lease ends';

CREATE FUNCTION eventbus.health_relay(OUT component text, OUT status text, OUT detail text, OUT hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
    state text;
BEGIN
    component := 'relay';
    status := 'ok';
    SELECT * INTO s FROM eventbus.stat_database() d WHERE d.is_current;
    state := COALESCE(s.relay_state, 'unknown');
    IF pg_is_in_recovery() THEN
        detail := 'none: this server is a standby';
        hint := 'A relay starts when the server is promoted.';
    ELSIF NOT current_setting('eventbus.relay')::boolean THEN
        status := 'warn';
        detail := 'none: eventbus.relay is off';
        hint := 'Set eventbus.relay = on and reload the configuration, or call eb_relay_run() regularly.';
    ELSIF state = 'running' AND s.last_pass_at < clock_timestamp() - interval '60 s' THEN
        status := 'fail';
        detail := format('process %s has made no pass for %s', s.relay_pid,
                         date_trunc('second', clock_timestamp() - s.last_pass_at));
        hint := format('See what it waits for in pg_stat_activity and pg_blocking_pids(%1$s); '
                       'pg_terminate_backend(%1$s) starts it anew.', s.relay_pid);
    ELSIF state = 'running' THEN
        detail := format('process %s, since %s, %s passes', s.relay_pid,
                         date_trunc('second', s.relay_started_at), s.passes);
        IF s.relay_failures > 0 THEN
            status := 'warn';
            detail := detail || format(', after %s failures, the last: %s', s.relay_failures, s.relay_error);
            hint := 'See the server log around that error.';
        END IF;
    ELSIF state = 'failed' THEN
        status := 'fail';
        detail := format('failed %s times in a row, the last error: %s', s.relay_failures,
                         COALESCE(s.relay_error, 'none known'));
        hint := format('See the server log and remove the cause; the next attempt is at %s.',
                       date_trunc('second', s.relay_restart_at));
    ELSE
        status := 'warn';
        detail := CASE WHEN s.holders > 0 THEN 'none: a command on the whole database is under way'
                       ELSE 'none yet' END;
        hint := 'It should run within seconds; if not, see the rows above and the server log.';
    END IF;
END
$$;
COMMENT ON FUNCTION eventbus.health_relay() IS 'the relay''s row of eb_health()';

CREATE FUNCTION eventbus.health_queue(OUT component text, OUT status text, OUT detail text, OUT hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
BEGIN
    component := 'queue';
    SELECT * INTO s FROM @extschema@.eb_stat_subscription v
    WHERE v.state = 'active' AND v.queued > 0 ORDER BY v.oldest_s DESC LIMIT 1;
    IF s.name IS NULL THEN
        status := 'ok';
        detail := 'nothing waits';
        RETURN;
    END IF;
    status := CASE WHEN s.oldest_s >= 600 THEN 'fail' WHEN s.oldest_s >= 60 THEN 'warn' ELSE 'ok' END;
    detail := format('oldest undelivered event: %s s, in subscription "%s", where %s events wait and %s are leased',
                     round(s.oldest_s::numeric, 1), s.name, s.queued, s.leased);
    IF status <> 'ok' THEN
        hint := CASE WHEN s.leased = 0 AND s.waiting = 0
                THEN 'No consumer is at work: start one, or end the subscription with eb_unsubscribe.'
                ELSE 'Its consumers are too slow or keep failing: see eb_stat_subscription and eb_stat_consumer, or add consumers.'
                END;
    END IF;
END
$$;
COMMENT ON FUNCTION eventbus.health_queue() IS 'the queue''s row of eb_health()';

-- Who keeps a store from being truncated: it is in nobody's way that a lock is held for less long than stores
-- wait for older snapshots anyway.
CREATE FUNCTION eventbus.health_storage(OUT component text, OUT status text, OUT detail text, OUT hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    turn bigint := pg_size_bytes(current_setting('eventbus.queue_rotate_size'));
    size bigint;
    h record;
BEGIN
    component := 'queue storage';
    status := 'ok';
    SELECT sum(pg_total_relation_size(i.inhrelid)) INTO size
    FROM pg_inherits i WHERE i.inhparent = 'eventbus.delivery'::regclass;
    detail := format('the queue takes %s', pg_size_pretty(size));
    IF turn = 0 OR size <= 4 * turn THEN
        RETURN;
    END IF;
    SELECT COALESCE('process ' || l.pid, format('prepared transaction "%s"', p.gid)) AS who, l.pid,
           COALESCE(a.xact_start, p.prepared) AS since INTO h
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
        AND x.virtualtransaction = l.virtualtransaction
    LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
    WHERE l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND l.relation IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = 'eventbus.delivery'::regclass)
      AND l.granted
    ORDER BY 3 LIMIT 1;
    IF h.since < clock_timestamp() - current_setting('eventbus.queue_truncate_delay')::interval THEN
        status := 'warn';
        detail := detail || format(', and %s has held a lock on it for %s', h.who,
                                   date_trunc('second', clock_timestamp() - h.since));
        hint := 'While it is held, the space of settled deliveries is not given back. ' ||
                CASE WHEN h.pid IS NULL THEN 'Commit it or roll it back.'
                     ELSE format('See what it does in pg_stat_activity; pg_terminate_backend(%s) ends it.', h.pid) END;
    END IF;
END
$$;
COMMENT ON FUNCTION eventbus.health_storage() IS 'the queue storage''s row of eb_health()';

CREATE FUNCTION @extschema@.eb_health()
RETURNS TABLE (component text, status text, detail text, hint text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
    b record;
    l record;
    installed text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'eventbus');
BEGIN
    SELECT * INTO l FROM eventbus.library();
    -- What does not serve this version says no more than that.
    IF l.serves THEN
        SELECT * INTO s FROM eventbus.stat_server();
    ELSE
        SELECT NULL::boolean AS preloaded INTO s;
    END IF;
    IF NOT s.preloaded THEN
        RETURN QUERY VALUES ('preload', 'fail', 'the library is not loaded at server start; events can be neither emitted nor consumed',
            'Add eventbus to shared_preload_libraries and restart the server.');
    ELSIF s.preloaded THEN
        RETURN QUERY VALUES ('preload', 'ok', 'the library was loaded at server start', NULL);
    END IF;
    RETURN QUERY SELECT 'version', CASE WHEN NOT l.serves THEN 'fail' WHEN l.version <> installed THEN 'warn' ELSE 'ok' END,
        format('library %s, extension %s', l.version, installed),
        CASE WHEN l.version <> installed THEN 'Install the library of the newer version and restart the server if the '
            'library is the older one; otherwise run ALTER EXTENSION eventbus UPDATE.' END;
    IF NOT l.serves THEN
        RETURN;
    END IF;
    IF s.preloaded THEN
        RETURN QUERY SELECT 'launcher',
            CASE WHEN s.launcher_pid IS NOT NULL OR pg_is_in_recovery() THEN 'ok' ELSE 'fail' END,
            CASE WHEN s.launcher_pid IS NOT NULL THEN format('process %s', s.launcher_pid)
                 WHEN pg_is_in_recovery() THEN 'none: this server is a standby'
                 ELSE 'does not run' END,
            CASE WHEN s.launcher_pid IS NOT NULL THEN NULL
                 WHEN pg_is_in_recovery() THEN 'It starts when the server is promoted.'
                 ELSE 'The server starts it anew within seconds; if it does not stay, see the server log.' END;
        RETURN QUERY SELECT 'worker slots', CASE WHEN s.no_worker_slot THEN 'fail' ELSE 'ok' END,
            CASE WHEN s.no_worker_slot THEN 'no slot was free for a relay' ELSE 'no shortage' END,
            CASE WHEN s.no_worker_slot THEN format('Raise max_worker_processes (now %s) by one per database that uses '
                'eventbus, and one more, and restart the server.', current_setting('max_worker_processes')) END;
        RETURN QUERY SELECT h.* FROM eventbus.health_relay() h;
    END IF;

    SELECT * INTO b FROM @extschema@.eb_stat_bus;
    RETURN QUERY SELECT 'relay lag', CASE WHEN b.lag_s >= 60 THEN 'fail' WHEN b.lag_s >= 10 THEN 'warn' ELSE 'ok' END,
        format('%s events, %s s', b.lag, b.lag_s),
        CASE WHEN b.lag_s >= 10 THEN 'Committed events are not routed to subscriptions: see the row of the relay; '
            'if it is busy, it catches up by itself.' END;
    RETURN QUERY SELECT h.* FROM eventbus.health_queue() h;
    RETURN QUERY SELECT h.* FROM eventbus.health_storage() h;
    IF s.preloaded THEN
        RETURN QUERY SELECT h.* FROM eventbus.health_epoch() h;
    END IF;
    RETURN QUERY SELECT h.* FROM eventbus.health_retention() h;
END
$$;
COMMENT ON FUNCTION @extschema@.eb_health() IS 'what is well and what is not, a row a component: ok, warn or fail, and what to do about it';

CREATE FUNCTION @extschema@.eb_metrics()
RETURNS TABLE (name text, labels jsonb, type text, value double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT m.name, '{}'::jsonb, m.type, m.value::double precision
    FROM @extschema@.eb_stat_bus b,
    LATERAL (VALUES
        ('eventbus_last_offset', 'gauge', b.last_offset),
        ('eventbus_relay_position', 'gauge', b.position),
        ('eventbus_relay_lag_events', 'gauge', b.lag),
        ('eventbus_relay_lag_seconds', 'gauge', b.lag_s),
        ('eventbus_events_emitted_total', 'counter', b.emitted),
        ('eventbus_duplicates_skipped_total', 'counter', b.duplicates),
        ('eventbus_outbox_depth', 'gauge', b.lag),
        ('eventbus_subscriptions', 'gauge', b.subscriptions)) AS m(name, type, value);

    RETURN QUERY
    SELECT m.name, '{}'::jsonb, m.type, m.value::double precision
    FROM eventbus.stat_database() s,
    LATERAL (VALUES
        ('eventbus_relay_up', 'gauge', (s.relay_state = 'running')::int),
        ('eventbus_relay_failures', 'gauge', s.relay_failures),
        ('eventbus_relay_passes_total', 'counter', s.passes)) AS m(name, type, value)
    WHERE s.is_current;

    RETURN QUERY
    SELECT m.name, jsonb_build_object('subscription', s.name), m.type, m.value::double precision
    FROM @extschema@.eb_stat_subscription s
    JOIN eventbus.subscription u ON u.name = s.name
    LEFT JOIN eventbus.stat_subscription() c ON c.subscription_id = u.id,
    LATERAL (VALUES
        ('eventbus_subscription_queued_events', 'gauge', s.queued),
        ('eventbus_subscription_leased_events', 'gauge', s.leased),
        ('eventbus_subscription_retrying_events', 'gauge', s.retrying),
        ('eventbus_subscription_delayed_events', 'gauge', s.delayed),
        ('eventbus_subscription_dead_letters', 'gauge', s.dead),
        ('eventbus_subscription_oldest_seconds', 'gauge', s.oldest_s),
        ('eventbus_subscription_paused', 'gauge', u.paused::int),
        ('eventbus_subscription_waiting_consumers', 'gauge', s.waiting),
        ('eventbus_subscription_routed_total', 'counter', COALESCE(c.routed, 0)),
        ('eventbus_subscription_fetched_total', 'counter', COALESCE(c.fetched, 0)),
        ('eventbus_events_processed_total', 'counter', COALESCE(c.acked, 0)),
        ('eventbus_subscription_nacked_total', 'counter', COALESCE(c.nacked, 0)),
        ('eventbus_subscription_expired_leases_total', 'counter', COALESCE(c.expired, 0)),
        ('eventbus_subscription_filter_errors_total', 'counter', COALESCE(c.filter_errors, 0)),
        ('eventbus_retries_total', 'counter', COALESCE(c.retried, 0)),
        ('eventbus_events_dead_lettered_total', 'counter', COALESCE(c.dead, 0))) AS m(name, type, value);

    RETURN QUERY
    WITH c AS (
        SELECT u.name, s.latency, s.latency_sum
        FROM eventbus.subscription u JOIN eventbus.stat_subscription() s ON s.subscription_id = u.id),
    b AS (
        SELECT c.name, i, sum(n) OVER (PARTITION BY c.name ORDER BY i) AS below, i = cardinality(c.latency) AS rest
        FROM c, unnest(c.latency) WITH ORDINALITY l(n, i))
    SELECT 'eventbus_delivery_latency_seconds_bucket', jsonb_build_object('subscription', b.name, 'le',
           CASE WHEN b.rest THEN '+Inf' ELSE (2 ^ (b.i - 1) / 1000)::text END), 'histogram', b.below::double precision
    FROM b
    UNION ALL
    SELECT 'eventbus_delivery_latency_seconds_sum', jsonb_build_object('subscription', c.name), 'histogram', c.latency_sum
    FROM c
    UNION ALL
    SELECT 'eventbus_delivery_latency_seconds_count', jsonb_build_object('subscription', b.name), 'histogram',
           b.below::double precision
    FROM b WHERE b.rest;
END
$$;
COMMENT ON FUNCTION @extschema@.eb_metrics() IS 'the statistics of this database with Prometheus names; counters begin at zero when the server starts';

REVOKE ALL ON FUNCTION eventbus.library(), eventbus.stat_server(), eventbus.stat_database(), eventbus.stat_subscription(),
    eventbus.stat_waiting(), eventbus.latency_quantile(bigint[], double precision), eventbus.event_age(uuid),
    eventbus.offset_age(bigint), eventbus.health_relay(), eventbus.health_queue(), eventbus.health_storage(),
    @extschema@.eb_health(), @extschema@.eb_metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION eventbus.stat_database(), eventbus.stat_subscription(), eventbus.stat_waiting(),
    eventbus.latency_quantile(bigint[], double precision), eventbus.event_age(uuid), eventbus.offset_age(bigint),
    @extschema@.eb_health(), @extschema@.eb_metrics() TO pg_monitor;
REVOKE ALL ON @extschema@.eb_stat_bus, @extschema@.eb_stat_relay, @extschema@.eb_stat_subscription,
    @extschema@.eb_stat_delivery, @extschema@.eb_stat_consumer FROM PUBLIC;
GRANT SELECT ON @extschema@.eb_stat_bus, @extschema@.eb_stat_relay, @extschema@.eb_stat_subscription,
    @extschema@.eb_stat_delivery, @extschema@.eb_stat_consumer TO pg_monitor;
