-- Sparse batches are read row by row at guessed places: the right events come, whatever lies where.
\ir common.psql
SELECT plan(6);
SELECT setseed(0.4711) \g /dev/null

CREATE TEMP TABLE got ("offset" bigint, event_id uuid, aggregate_id text, payload jsonb);
CREATE PROCEDURE pg_temp.drain(name text) LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    PERFORM eb_relay_run();
    LOOP
        INSERT INTO got SELECT "offset", event_id, aggregate_id, payload FROM eb_fetch(name, 50);
        GET DIAGNOSTICS n = ROW_COUNT;
        EXIT WHEN n = 0;
        COMMIT;
    END LOOP;
END $$;
-- How many events were fetched and should not have been, or the other way round.
CREATE FUNCTION pg_temp.differs() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM got g FULL JOIN eventbus.event e USING ("offset", event_id, aggregate_id, payload)
    WHERE (g."offset" IS NULL AND e.type = 'guess.sparse' AND e.payload @> '{"k": 1}') OR e."offset" IS NULL
$$;
-- Rows of all lengths, a few of them wanted.
CREATE PROCEDURE pg_temp.emit(n int, longest int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n / 500 LOOP
        PERFORM eb_emit('guess.sparse', jsonb_build_object('k', CASE WHEN random() < 0.03 THEN 1 ELSE 0 END,
            'pad', repeat('x', (random() * longest * random())::int)), (random() * 100)::int::text) FROM generate_series(1, 500);
        COMMIT;
    END LOOP;
END $$;
SELECT eb_subscribe('sparse', '{guess.*}', filter => '$.k == 1', batch_size => 50) \g /dev/null

CALL pg_temp.emit(5000, 0);
CALL pg_temp.drain('sparse');
SELECT is(pg_temp.differs(), 0::bigint, 'rows of one length');
CALL pg_temp.emit(10000, 3000);
CALL pg_temp.drain('sparse');
SELECT is(pg_temp.differs(), 0::bigint, 'of very different lengths');

-- Holes: dead rows, then pages that vacuum has emptied.
CALL pg_temp.emit(6000, 500);
SELECT eb_relay_run() \g /dev/null
DELETE FROM eventbus.event WHERE random() < 0.5 AND NOT payload @> '{"k": 1}';
CALL pg_temp.drain('sparse');
SELECT is(pg_temp.differs(), 0::bigint, 'with dead rows in between');
CALL pg_temp.emit(6000, 500);
SELECT eb_relay_run() \g /dev/null
DELETE FROM eventbus.event WHERE random() < 0.9 AND NOT payload @> '{"k": 1}';
VACUUM eventbus.event;
CALL pg_temp.drain('sparse');
SELECT is(pg_temp.differs(), 0::bigint, 'and with none');

-- Rows move between two fetches of one session.
CALL pg_temp.emit(6000, 500);
SELECT eb_relay_run() \g /dev/null
INSERT INTO got SELECT "offset", event_id, aggregate_id, payload FROM eb_fetch('sparse', 50);
SELECT format('VACUUM FULL %s', inhrelid::regclass) FROM pg_inherits WHERE inhparent = 'eventbus.event'::regclass \gexec
CALL pg_temp.drain('sparse');
SELECT is(pg_temp.differs(), 0::bigint, 'after a rewrite of the table');

SELECT ok(count(*) > 500 AND count(*) = count(DISTINCT "offset"), 'each of many events once') FROM got;
SELECT eb_unsubscribe('sparse') \g /dev/null
SELECT finish();
