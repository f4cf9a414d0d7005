-- From the commit on: offsets, the log's functions, savepoints, what a transaction may not do.
\set VERBOSITY terse
SET eventbus.correlation_id = '0190163d-8694-739b-aea5-966c26f8ad91';

SELECT eb_last_offset() AS base \gset
CREATE VIEW log AS SELECT "offset" - :base AS n, type, payload FROM eb_read(:base + 1, 100000);

-- Two literals are type and payload; one is an envelope.
SELECT eb_emit('emit.two', '{}') IS NOT NULL AS ok;
SELECT cardinality(eb_emit('{"type": "emit.one", "payload": {}}'));

-- Rolled back as a whole, or back to savepoints at any depth.
BEGIN;
SELECT count(eb_emit('emit.lost', '1'));
ROLLBACK;
BEGIN;
SELECT count(eb_emit('emit.kept', '1'));
SAVEPOINT a;
SELECT count(eb_emit('emit.lost', '2'));
SAVEPOINT b;
SELECT count(eb_emit('emit.lost', '3'));
RELEASE b;
SELECT count(*) FROM eb_pending();
ROLLBACK TO a;
SELECT count(eb_emit('emit.kept', '4'));
SAVEPOINT c;
SELECT count(eb_emit('emit.kept', '5'));
RELEASE c;
COMMIT;
SELECT * FROM log;
SELECT count(*) FROM eb_pending();

-- The same across the temporary file.
SET eventbus.outbox_memory = '64kB';
BEGIN;
SELECT count(eb_emit('emit.spill', to_jsonb(i))) FROM generate_series(1, 3000) i;
SAVEPOINT a;
SELECT count(eb_emit('emit.lost', to_jsonb(i))) FROM generate_series(1, 3000) i;
ROLLBACK TO a;
DO $$
BEGIN
    FOR i IN 3001 .. 6000 LOOP
        BEGIN
            PERFORM eb_emit('emit.spill', to_jsonb(i));
            IF i % 3 = 0 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END $$;
COMMIT;
RESET eventbus.outbox_memory;
SELECT count(*), sum(payload::int), bool_and(in_order) FROM
    (SELECT payload, payload::int > coalesce(lag(payload::int) OVER (ORDER BY n), 0) AS in_order
     FROM log WHERE type = 'emit.spill') s;
SELECT count(*) FROM log WHERE type = 'emit.lost';

-- eb_read: bounds, topics, filter.
SELECT type, payload FROM eb_read(:base + 1, 2);
SELECT type, payload FROM eb_read(:base + 1, 10, '{emit.*,!emit.spill,!emit.two}');
SELECT payload FROM eb_read(0, 10, '{emit.spill}', '$ > 4998 && $type == "emit.spill"');
SELECT payload FROM eb_read(0, 1, '{emit.*}', '$.no.such.key == 1');
SELECT * FROM eb_read(NULL);
SELECT * FROM eb_read(1, 0);
SELECT * FROM eb_read(-1);
SELECT * FROM eb_read(1, 1, '{}');
SELECT * FROM eb_read(1, 1, '{a.>.b}');
SELECT * FROM eb_read(1, 1, NULL, '$offset > 1');
SELECT count(*) FROM eb_read(eb_last_offset() + 1);
SELECT eb_offset_at(NULL);
SELECT eb_offset_at('infinity') > :base AS after_all, eb_offset_at('-infinity') >= 1 AS before_all;

-- eb_get.
SELECT (eb_get(event_id)).type FROM eb_read(:base + 1, 1);
SELECT eb_get('01890000-0000-7000-8000-000000000000') IS NULL AS unknown;

-- A duplicate of a committed event, whoever made its id.
SELECT event_id AS generated FROM eb_read(:base + 1, 1) \gset
SELECT eb_emit('emit.again', '1', event_id => :'generated') = :'generated' AS skipped;
SET eventbus.on_duplicate = error;
\set VERBOSITY sqlstate
SELECT eb_emit('emit.again', '1', event_id => :'generated');
\set VERBOSITY terse
RESET eventbus.on_duplicate;
SELECT count(*) FROM log WHERE type = 'emit.again';

-- An id that was rolled back is new.
SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7abc8def0123456789ab')::uuid AS given \gset
BEGIN;
SELECT eb_emit('emit.given', '1', event_id => :'given') = :'given' AS emitted;
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT eb_emit('emit.given', '2', event_id => :'given') = :'given' AS emitted;
COMMIT;
SELECT eb_emit('emit.given', '3', event_id => :'given') = :'given' AS skipped;
SELECT payload FROM log WHERE type = 'emit.given';

-- What a transaction may not do.
BEGIN READ ONLY;
SELECT eb_emit('emit.no', '1');
ROLLBACK;
BEGIN;
SELECT count(eb_emit('emit.no', '1'));
PREPARE TRANSACTION 'emit';
SELECT count(*) FROM log WHERE type = 'emit.no';
BEGIN;
SAVEPOINT a;
SELECT count(eb_emit('emit.no', '1'));
ROLLBACK TO a;
PREPARE TRANSACTION 'emit';
ROLLBACK PREPARED 'emit';

-- Emitting from a deferred trigger is in time for the commit.
CREATE TABLE deferred (i int);
CREATE FUNCTION deferred() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM eb_emit('emit.deferred', to_jsonb(NEW.i)); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION deferred();
INSERT INTO deferred VALUES (1), (2);
SELECT type, payload FROM log WHERE type = 'emit.deferred';

-- An application's role needs the function and no table.
CREATE ROLE emit_app;
SET ROLE emit_app;
SELECT eb_emit('emit.role', '1');
RESET ROLE;
GRANT EXECUTE ON FUNCTION eb_emit(text, jsonb, text, uuid, uuid, uuid, jsonb, int, timestamptz) TO emit_app;
SET ROLE emit_app;
SELECT eb_emit('emit.role', '1', event_id => (left(:'given', 24) || 'aaaaaaaaaaaa')::uuid) IS NOT NULL AS emitted;
SELECT count(*) FROM eventbus.event;
RESET ROLE;
SELECT count(*) FROM log WHERE type = 'emit.role';

-- An index that somebody adds is kept up, an expression with a predicate as well.
CREATE INDEX emit_extra ON eventbus.event (lower(type)) WHERE aggregate_id IS NOT NULL;
SELECT count(eb_emit('emit.index', '1', CASE WHEN i > 5 THEN i::text END)) FROM generate_series(1, 10) i;
SET enable_seqscan = off;
SELECT count(*) FROM eventbus.event WHERE lower(type) = 'emit.index' AND aggregate_id IS NOT NULL;
RESET enable_seqscan;
DROP INDEX eventbus.emit_extra;

DROP TABLE deferred;
DROP FUNCTION deferred();
DROP VIEW log;
REVOKE ALL ON FUNCTION eb_emit(text, jsonb, text, uuid, uuid, uuid, jsonb, int, timestamptz) FROM emit_app;
DROP ROLE emit_app;
