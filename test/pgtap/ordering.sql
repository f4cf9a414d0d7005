-- ordering => 'aggregate': one batch of an aggregate at a time, in offset order, across retries, expiry and rollback.
\ir common.psql
SELECT plan(40);
CREATE FUNCTION pg_temp.take(name text, n int = 100) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(aggregate_id || (payload #>> '{}'), ' ' ORDER BY "offset") FROM (SELECT * FROM eb_fetch(name, n)) f
$$;
-- Aggregates that have lanes of their own, so that the outcome is certain: every one with the other two.
SELECT eb_subscribe('probe', ordering => 'aggregate') \g /dev/null
SELECT eb_emit('probe.a', '0', i::text) FROM generate_series(1, 30) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE lanes AS SELECT e.aggregate_id, d.lane FROM eventbus.delivery d
    JOIN eventbus.event e ON e."offset" BETWEEN d.first_offset AND d.last_offset WHERE d.offsets IS NULL;
SELECT ok(count(DISTINCT lane) > 10, 'aggregates are spread over lanes') FROM lanes;
SELECT ok(bool_and(lane >= 16), 'of their own') FROM lanes;
SELECT min(aggregate_id) AS a FROM lanes \gset
SELECT min(aggregate_id) AS b FROM lanes WHERE lane <> (SELECT lane FROM lanes WHERE aggregate_id = :'a') \gset
SELECT eb_unsubscribe('probe') \g /dev/null

-- One batch at a time.
SELECT eb_subscribe('o', '{ord.*}', ordering => 'aggregate', batch_size => 2, backoff => '0', lease => '1 min') \g /dev/null
CREATE PROCEDURE pg_temp.emit(agg text, first int, last int) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eb_emit('ord.a', to_jsonb(i), agg) FROM generate_series(first, last) i;
    COMMIT;
    PERFORM eb_relay_run();
END $$;
CALL pg_temp.emit(:'a', 1, 5);
CALL pg_temp.emit(:'b', 1, 3);
CREATE TEMP TABLE f1 AS SELECT * FROM eb_fetch('o');
SELECT set_eq('SELECT aggregate_id, payload::int FROM f1', format('VALUES (%1$L, 1), (%1$L, 2), (%2$L, 1), (%2$L, 2)', :'a', :'b'),
    'the first batch of each aggregate');
SELECT is(pg_temp.take('o'), NULL, 'and nothing more of them');
SELECT eb_ack(receipt) FROM f1 WHERE aggregate_id = :'a' AND payload = '1' \g /dev/null
SELECT is(pg_temp.take('o'), :'a' || '3 ' || :'a' || '4', 'acked: the next batch of that one');
SELECT eb_ack(receipt) FROM f1 WHERE aggregate_id = :'b' AND payload = '1' \g /dev/null
SELECT is(pg_temp.take('o'), :'b' || '3', 'and of the other');
SELECT eb_seek('o', eb_last_offset() + 1) \g /dev/null
SELECT eb_relay_run() \g /dev/null

-- A partial ack does not let the next batch go.
CALL pg_temp.emit(:'a', 1, 3);
CREATE TEMP TABLE f2 AS SELECT * FROM eb_fetch('o');
SELECT eb_ack(receipt, ARRAY[event_id]) FROM f2 WHERE payload = '1' \g /dev/null
SELECT is(pg_temp.take('o'), NULL, 'a partial ack: the rest is still leased');
SELECT eb_ack(min(receipt)) FROM f2 \g /dev/null
SELECT is(pg_temp.take('o', 1), :'a' || '3', 'acked as a whole');
SELECT eb_seek('o', eb_last_offset() + 1) \g /dev/null
SELECT eb_relay_run() \g /dev/null

-- A part of a batch.
CALL pg_temp.emit(:'a', 1, 3);
CREATE TEMP TABLE f3 AS SELECT * FROM eb_fetch('o', 1);
SELECT results_eq('SELECT payload::int FROM f3', ARRAY[1], 'one event of a batch');
SELECT is(pg_temp.take('o'), NULL, 'the other waits');
SELECT eb_ack(receipt) FROM f3 \g /dev/null
SELECT is(pg_temp.take('o'), :'a' || '2', 'until that is acked');
SELECT eb_seek('o', eb_last_offset() + 1) \g /dev/null
SELECT eb_relay_run() \g /dev/null

-- A retry holds back what comes after it.
CALL pg_temp.emit(:'a', 1, 3);
CALL pg_temp.emit(:'b', 1, 1);
CREATE TEMP TABLE f4 AS SELECT * FROM eb_fetch('o');
SELECT eb_nack(receipt, ARRAY[event_id], retry_after => '1 hour') FROM f4 WHERE aggregate_id = :'a' AND payload = '1' \g /dev/null
SELECT is(pg_temp.take('o'), NULL, 'a retry that is not due');
SELECT eb_ack(receipt) FROM f4 WHERE aggregate_id = :'a' AND payload = '2' \g /dev/null
SELECT is(pg_temp.take('o'), NULL, 'holds back what comes after it');
CALL pg_temp.emit(:'b', 2, 2);
SELECT eb_ack(receipt) FROM f4 WHERE aggregate_id = :'b' \g /dev/null
SELECT is(pg_temp.take('o'), :'b' || '2', 'but not another aggregate');
UPDATE eventbus.delivery SET due_at = now() WHERE due_at > now();
SELECT eb_nack((seq << 16) | (token::int & 65535)) FROM eventbus.delivery WHERE lease_until > now() AND false \g /dev/null
SELECT eb_seek('o', eb_last_offset() + 1) \g /dev/null
SELECT eb_relay_run() \g /dev/null
CALL pg_temp.emit(:'a', 1, 4);
CREATE TEMP TABLE f5 AS SELECT * FROM eb_fetch('o');
SELECT eb_nack(min(receipt), retry_after => '30 ms') FROM f5 \g /dev/null
SELECT is(pg_temp.take('o'), NULL, 'a whole batch that failed');
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('o', wait => '10 s')$$, 'VALUES (1, 2)', 'comes again event by event, in order');
SELECT is(pg_temp.take('o'), NULL, 'one at a time');
CREATE FUNCTION pg_temp.settle_leased() RETURNS int LANGUAGE sql AS $$
    SELECT sum(eb_ack((seq << 16) | (token::int & 65535)))::int FROM eventbus.delivery WHERE lease_until > clock_timestamp()
$$;
SELECT is(pg_temp.settle_leased(), 1, 'settled');
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('o')$$, 'VALUES (2, 2)', 'the next of the failed batch');
SELECT is(pg_temp.settle_leased(), 1, 'settled');
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('o')$$, 'VALUES (3, 1), (4, 1)', 'then the batch behind it');
SELECT is(pg_temp.settle_leased(), 2, 'settled');

-- The first of a batch fails, the others' lease runs out: the first still comes first.
CALL pg_temp.emit(:'a', 1, 2);
CREATE TEMP TABLE f6 AS SELECT * FROM eb_fetch('o');
SELECT eb_nack(receipt, ARRAY[event_id], retry_after => '1 hour') FROM f6 WHERE payload = '1' \g /dev/null
SELECT eb_extend(receipt, '1 us') FROM f6 WHERE payload = '1' \g /dev/null
SELECT is(pg_temp.take('o'), NULL, 'its first event waits, so the rest of an expired batch waits, too');
SELECT eb_seek('o', eb_last_offset() + 1) \g /dev/null
SELECT eb_relay_run() \g /dev/null

-- A lease that runs out, and a transaction that is rolled back.
CALL pg_temp.emit(:'a', 1, 3);
SELECT count(*) FROM eb_fetch('o', lease => '1 us') \g /dev/null
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('o', wait => '10 s')$$, 'VALUES (1, 2)', 'an expired batch: its first event');
SELECT is(pg_temp.take('o'), NULL, 'and no other');
SELECT pg_temp.settle_leased() \g /dev/null
BEGIN;
SELECT is(pg_temp.take('o'), :'a' || '2', 'the second, in a transaction');
ROLLBACK;
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('o')$$, 'VALUES (2, 2)', 'that is rolled back: once more, no attempt');
BEGIN;
SELECT pg_temp.settle_leased() \g /dev/null
SELECT is(pg_temp.take('o'), NULL, 'an ack lets the next go once it is committed');
ROLLBACK;
SELECT is(pg_temp.take('o'), NULL, 'rolled back: the second is leased as before');
SELECT pg_temp.settle_leased() \g /dev/null
SELECT is(pg_temp.take('o'), :'a' || '3', 'settled at last');
SELECT pg_temp.settle_leased() \g /dev/null

-- A dead letter does not block its aggregate; its replay is out of order.
SELECT eb_subscribe('d', '{ord.*}', ordering => 'aggregate', batch_size => 1, max_attempts => 1) \g /dev/null
CALL pg_temp.emit(:'a', 1, 3);
SELECT eb_nack(receipt) FROM eb_fetch('d') \g /dev/null
SELECT is(pg_temp.take('d'), :'a' || '2', 'a dead letter lets the next go');
SELECT is(eb_dlq_replay(subscription => 'd'), 1::bigint, 'replayed');
SELECT results_eq($$SELECT payload::int, replayed FROM eb_fetch('d')$$, 'VALUES (1, true)', 'it comes out of order');
SELECT is(pg_temp.settle_leased(), 2, 'settled');
SELECT is(pg_temp.take('d'), :'a' || '3', 'and the third goes on');
SELECT is(pg_temp.settle_leased(), 1, 'settled');

-- Events without an aggregate have no order among them, nor lanes; a crowd of aggregates.
SELECT eb_emit('ord.a', to_jsonb(i)) FROM generate_series(1, 4) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT count(*) FROM eb_fetch('d')), 4::bigint, 'without an aggregate id there is nothing to wait for');
SELECT eb_unsubscribe('o'), eb_unsubscribe('d') \g /dev/null
SELECT eb_subscribe('c', '{ord.*}', ordering => 'aggregate', batch_size => 7) \g /dev/null
SELECT eb_emit('ord.a', to_jsonb(i), 'agg ' || i % 100) FROM generate_series(1, 2000) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE seen (n serial, aggregate_id text, i int);
DO $$
DECLARE
    got int;
BEGIN
    LOOP
        WITH f AS MATERIALIZED (SELECT * FROM eb_fetch('c', 50)), i AS (INSERT INTO seen (aggregate_id, i) SELECT aggregate_id, payload::int FROM f),
            a AS MATERIALIZED (SELECT eb_ack(receipt) AS n FROM (SELECT DISTINCT receipt FROM f) r)
        SELECT sum(n) INTO got FROM a;
        COMMIT;
        EXIT WHEN got IS NULL;
    END LOOP;
END $$;
SELECT is(count(*), 2000::bigint, 'two thousand events of a hundred aggregates') FROM seen;
SELECT is(count(DISTINCT i), 2000::bigint, 'each once') FROM seen;
SELECT is_empty('SELECT * FROM (SELECT i, lag(i) OVER (PARTITION BY aggregate_id ORDER BY n) AS before FROM seen) s WHERE before > i', 'in the order of each');
SELECT * FROM finish();
