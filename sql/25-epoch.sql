-- Epochs: on which cluster, timeline and database the offsets were given out.

CREATE SEQUENCE eventbus.epoch_id;
CREATE TABLE eventbus.epoch (
    id           bigint      NOT NULL PRIMARY KEY,
    system_id    bigint      NOT NULL,
    timeline     integer     NOT NULL,
    database     oid         NOT NULL,
    extension    oid         NOT NULL,
    first_offset bigint      NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE eventbus.epoch IS 'one row a time that the bus began to give out offsets on another cluster, timeline or database; the row 0, which is not dumped, says where the extension was installed';

CREATE FUNCTION eventbus.timeline() RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_timeline';
COMMENT ON FUNCTION eventbus.timeline() IS 'the timeline that this server writes';
INSERT INTO eventbus.epoch (id, system_id, timeline, database, extension, first_offset)
SELECT 0, s.system_identifier, eventbus.timeline(), d.oid, e.oid, 0
FROM pg_catalog.pg_control_system() s, pg_catalog.pg_database d, pg_catalog.pg_extension e
WHERE d.datname = pg_catalog.current_database() AND e.extname = 'eventbus';

-- A dump sets sequences after all rows and makes indexes after that; pg_restore with several jobs does not, but
-- says its name.
CREATE FUNCTION eventbus.restored() RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = current_database()
                           AND a.application_name = 'pg_restore' AND a.pid <> pg_backend_pid())
       AND COALESCE(pg_sequence_last_value('eventbus.epoch_id'), 0) >= (SELECT max(e.id) FROM eventbus.epoch e)
       AND NOT EXISTS (
           SELECT FROM pg_inherits i
           WHERE i.inhparent IN ('eventbus.event'::regclass, 'eventbus.dedup'::regclass, 'eventbus.once'::regclass)
             AND (SELECT count(*) FROM pg_index x WHERE x.indrelid = i.inhrelid AND x.indisvalid)
                 < CASE i.inhparent WHEN 'eventbus.event'::regclass THEN 2 ELSE 1 END)
$$;
COMMENT ON FUNCTION eventbus.restored() IS 'whether a dump that is being restored into this database is complete';

CREATE FUNCTION eventbus.epoch_state() RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_epoch_state';
COMMENT ON FUNCTION eventbus.epoch_state() IS 'new: nothing was emitted yet; current; changed: on another cluster, timeline or database than before; restoring';

CREATE FUNCTION eventbus.health_epoch(OUT component text, OUT status text, OUT detail text, OUT hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    e eventbus.epoch;
    state text := CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE eventbus.epoch_state() END;
BEGIN
    component := 'epoch';
    status := 'ok';
    SELECT * INTO e FROM eventbus.epoch WHERE id > 0 ORDER BY id DESC LIMIT 1;
    IF state = 'restoring' THEN
        status := 'warn';
        detail := 'a dump is being restored; the bus starts when that is complete';
        hint := 'If the restore is over, see whether it reported errors: every log segment needs its indexes, '
                'eventbus.epoch_id its value, and no session may be called pg_restore.';
    ELSIF state = 'new' THEN
        detail := 'none yet: nothing has been emitted or subscribed to';
    ELSIF state = 'changed' THEN
        status := 'warn';
        detail := format('the bus moved here after epoch %s; the relay begins a new one', e.id);
        hint := 'It should do so within seconds; if not, see the row of the relay.';
    ELSE
        detail := format('epoch %s since %s, timeline %s, from offset %s on', e.id,
                         date_trunc('second', e.started_at), e.timeline, e.first_offset);
        IF e.id > 1 AND e.started_at > clock_timestamp() - interval '1 day' THEN
            status := 'warn';
            detail := 'epoch changed: ' || detail;
            hint := 'The bus was promoted, restored or copied. Readers outside that keep offsets should compare: below '
                    || e.first_offset || ', what they have seen may not have survived. This warning ends after a day.';
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION eventbus.health_epoch() IS 'the epoch''s row of eb_health()';
REVOKE ALL ON FUNCTION eventbus.timeline(), eventbus.restored(), eventbus.epoch_state(), eventbus.health_epoch() FROM PUBLIC;
