-- Retention: which segments of the log may go.  src/retention.c takes the locks and acts.

-- The time by which the relay had passed an offset.
CREATE FUNCTION eventbus.passed_at(passed bigint) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.at FROM eventbus.progress p WHERE p.position >= passed ORDER BY p.position, p.pass LIMIT 1
$$;
COMMENT ON FUNCTION eventbus.passed_at(bigint) IS 'when the relay had passed an offset; NULL if it has not';

-- young: not yet; held: something still needs too much of it; drop; compact: little of it is needed; cut: held only
-- by subscriptions that are to be cut off.  Young ends the search, for what follows is younger.
CREATE FUNCTION eventbus.retention_verdict(segment regclass, first_offset bigint, end_offset bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    keep_for interval := current_setting('eventbus.retention')::interval;
    size_limit bigint := pg_size_bytes(current_setting('eventbus.retention_size'));
    cap interval := current_setting('eventbus.max_retention')::interval;
    passed timestamptz := eventbus.passed_at(end_offset - 1);
    overdue boolean;
    needed bigint;
    total bigint;
    share int;
BEGIN
    overdue := keep_for > interval '0' AND passed < clock_timestamp() - keep_for;
    IF passed IS NOT NULL AND NOT overdue AND size_limit > 0 THEN
        SELECT sum(pg_total_relation_size(i.inhrelid)) > size_limit INTO overdue
        FROM pg_inherits i WHERE i.inhparent = 'eventbus.event'::regclass;
    END IF;
    IF overdue IS NOT TRUE THEN
        RETURN 'young';
    END IF;
    -- Who has not been routed what is in it.
    IF EXISTS (SELECT FROM (SELECT p.cursors FROM eventbus.progress p ORDER BY p.position DESC, p.pass DESC LIMIT 1) l,
                      unnest(l.cursors) WITH ORDINALITY AS c(position, n)
               WHERE c.n % 2 = 0 AND c.position < end_offset - 1)
       OR EXISTS (SELECT FROM eventbus.seek k WHERE k.position < end_offset - 1) THEN
        RETURN 'held';
    END IF;
    SELECT (SELECT COALESCE(sum(LEAST(d.last_offset, end_offset - 1) - GREATEST(d.first_offset, first_offset) + 1), 0)
            FROM eventbus.delivery d WHERE d.first_offset < end_offset AND d.last_offset >= first_offset)
         + (SELECT count(*) FROM eventbus.dead_letter l
            WHERE l."offset" >= first_offset AND l."offset" < end_offset AND l.subscription IS NOT NULL) INTO needed;
    IF needed = 0 THEN
        RETURN 'drop';
    END IF;
    SELECT c.reltuples::bigint INTO total FROM pg_class c WHERE c.oid = segment;
    IF total <= 0 THEN
        EXECUTE format('SELECT count(*) FROM %s', segment) INTO total;
    END IF;
    share := CASE WHEN segment::text LIKE '%\_kept%' THEN 2 ELSE 10 END;
    IF needed * share <= total THEN
        RETURN 'compact';
    END IF;
    IF cap > interval '0' AND passed < clock_timestamp() - cap
       AND EXISTS (SELECT FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id
                   WHERE d.last_offset < end_offset AND s.lag_policy <> 'keep'
                     AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())) THEN
        RETURN 'cut';
    END IF;
    RETURN 'held';
END
$$;
COMMENT ON FUNCTION eventbus.retention_verdict(regclass, bigint, bigint) IS 'what to do with a segment of the log: young, held, drop, compact or cut';

-- Called with the parent and the segment locked.
CREATE FUNCTION eventbus.detach_segment(segment regclass, archive boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('ALTER TABLE eventbus.event DETACH PARTITION %s', segment);
    IF archive THEN
        IF to_regnamespace('eventbus_archive') IS NULL THEN
            CREATE SCHEMA eventbus_archive;
        ELSIF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'eventbus_archive'
                          AND n.nspowner = (SELECT e.extowner FROM pg_extension e WHERE e.extname = 'eventbus')) THEN
            RAISE insufficient_privilege USING MESSAGE = 'schema eventbus_archive does not belong to the owner of the extension',
                HINT = 'Rename it, or set eventbus.retention_action = drop.';
        END IF;
        EXECUTE format('ALTER TABLE %s SET SCHEMA eventbus_archive', segment);
    END IF;
END
$$;
COMMENT ON FUNCTION eventbus.detach_segment(regclass, boolean) IS 'takes a segment out of the log; archived, it stays as a table of schema eventbus_archive';

-- What of a detached segment is still needed goes to the one that takes its place.
CREATE FUNCTION eventbus.keep_needed(source regclass, target regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept bigint;
BEGIN
    EXECUTE format('INSERT INTO %s SELECT e.* FROM %s e WHERE EXISTS (SELECT FROM eventbus.delivery d '
                   'WHERE e."offset" BETWEEN d.first_offset AND d.last_offset) '
                   'OR e."offset" IN (SELECT l."offset" FROM eventbus.dead_letter l)', target, source);
    GET DIAGNOSTICS kept = ROW_COUNT;
    RETURN kept;
END
$$;
COMMENT ON FUNCTION eventbus.keep_needed(regclass, regclass) IS 'copies the events that deliveries and dead letters refer to; returns how many';

-- Rows of progress that tell nothing of what is left of the log; some at a time.
CREATE FUNCTION eventbus.prune_progress(log_start bigint) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM eventbus.progress p USING (
            SELECT q.position, q.pass, q.store FROM eventbus.progress q
            WHERE q.position < LEAST(log_start - 1, (SELECT max(m.position) FROM eventbus.progress m))
            ORDER BY q.position LIMIT 5000) old
        WHERE p.position = old.position AND p.pass = old.pass AND p.store = old.store
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION eventbus.prune_progress(bigint) IS 'deletes rows of progress that lie before the start of the log; returns how many';

CREATE FUNCTION @extschema@.eb_lag_policy(subscription text, policy text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_lag_policy';
COMMENT ON FUNCTION @extschema@.eb_lag_policy(text, text) IS
    'what happens to a subscription''s events that wait longer than eventbus.max_retention: keep (the log grows), dead_letter or skip';

CREATE FUNCTION eventbus.health_retention(OUT component text, OUT status text, OUT detail text, OUT hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    cap interval := current_setting('eventbus.max_retention')::interval;
    keep_for interval := current_setting('eventbus.retention')::interval;
    l record;
    d record;
BEGIN
    component := 'retention';
    status := 'ok';
    SELECT count(*) AS segments, pg_size_pretty(COALESCE(sum(pg_total_relation_size(i.inhrelid)), 0)) AS size INTO l
    FROM pg_inherits i WHERE i.inhparent = 'eventbus.event'::regclass;
    detail := format('the log has %s segments, %s', l.segments, l.size);
    SELECT s.name, eventbus.passed_at(min(q.last_offset)) AS waits_since INTO d
    FROM eventbus.delivery q JOIN eventbus.subscription s ON s.id = q.subscription_id
    WHERE q.due_at IS NULL GROUP BY s.name ORDER BY min(q.last_offset) LIMIT 1;
    IF cap > interval '0' AND d.waits_since < clock_timestamp() - cap THEN
        status := 'fail';
    ELSIF keep_for > interval '0' AND d.waits_since < clock_timestamp() - keep_for THEN
        status := 'warn';
    ELSE
        RETURN;
    END IF;
    detail := detail || format('; subscription "%s" has not settled what was routed at %s and keeps the log from there on',
                               d.name, date_trunc('second', d.waits_since));
    hint := format('Consume from it, end it with eb_unsubscribe(%1$L), or cut it off with eb_lag_policy(%1$L, ''skip'') '
                   'and eventbus.max_retention.', d.name);
END
$$;
COMMENT ON FUNCTION eventbus.health_retention() IS 'the retention''s row of eb_health()';

REVOKE ALL ON FUNCTION eventbus.passed_at(bigint), eventbus.retention_verdict(regclass, bigint, bigint),
    eventbus.detach_segment(regclass, boolean), eventbus.keep_needed(regclass, regclass),
    eventbus.prune_progress(bigint), eventbus.health_retention(), @extschema@.eb_lag_policy(text, text) FROM PUBLIC;
