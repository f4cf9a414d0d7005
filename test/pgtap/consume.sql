-- eb_fetch, eb_ack, eb_extend: batches, parts, several deliveries in a call, receipts, leases, waits, transactions.
\ir common.psql
CREATE EXTENSION IF NOT EXISTS dblink;
SELECT plan(77);
SELECT format('host=%s port=%s dbname=%I', split_part(current_setting('unix_socket_directories'), ',', 1),
    current_setting('port'), current_database()) AS other \gset
SELECT dblink_connect('other', :'other') \g /dev/null

-- Everything of an event arrives.
SELECT eb_subscribe('whole') \g /dev/null
SELECT eb_emit('order.placed', '{"n": [1, 2]}', 'agg-1', correlation_id => '018f0000-0000-7000-8000-000000000001',
    causation_id => '018f0000-0000-7000-8000-000000000002', headers => '{"tenant": "acme"}', priority => 4) AS id \gset
CREATE TEMP TABLE got AS SELECT * FROM eb_fetch('whole', wait => '10 s');
SELECT results_eq('SELECT attempt, replayed, event_id, type, aggregate_id, payload, correlation_id, causation_id, headers, priority::int, deliver_at FROM got',
    format($$VALUES (1, false, %L::uuid, 'order.placed', 'agg-1', '{"n": [1, 2]}'::jsonb, '018f0000-0000-7000-8000-000000000001'::uuid,
    '018f0000-0000-7000-8000-000000000002'::uuid, '{"tenant": "acme"}'::jsonb, 4, NULL::timestamptz)$$, :'id'), 'an event arrives whole');
SELECT ok(emitted_at > now() - interval '1 min' AND first_delivered_at > now() - interval '1 min' AND "offset" > 0, 'with its times and offset') FROM got;
SELECT is((SELECT row(g."offset", g.event_id, g.type, g.aggregate_id, g.payload, g.correlation_id, g.causation_id, g.headers, g.priority,
    g.deliver_at, g.emitted_at)::eb_event FROM got g), eb_get(:'id'), 'as it is in the log');
SELECT is(eb_ack(receipt), 1, 'one event acked') FROM got;
SELECT is_empty($$SELECT * FROM eb_fetch('whole')$$, 'and gone');
SELECT pg_temp.refused(format('SELECT eb_ack(%s)', receipt), '55000', 'receipt % is stale', 'a settled receipt is stale') FROM got;

-- A batch under one receipt.
SELECT eb_subscribe('b') \g /dev/null
SELECT eb_emit('batch.a', to_jsonb(i)) FROM generate_series(1, 5) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE b AS SELECT * FROM eb_fetch('b');
SELECT results_eq('SELECT payload::int FROM b', ARRAY[1, 2, 3, 4, 5], 'a batch in the order of offsets');
SELECT is((SELECT count(DISTINCT receipt) FROM b), 1::bigint, 'with one receipt');
SELECT receipt AS r, event_id AS e1 FROM b WHERE payload = '1' \gset
SELECT event_id AS e2 FROM b WHERE payload = '2' \gset
SELECT is_empty($$SELECT * FROM eb_fetch('b')$$, 'what is leased is not handed out');
SELECT is(eb_ack(:r, ARRAY[:'e2', :'e2']::uuid[]), 1, 'one of them is acked, though named twice');
SELECT is(eb_ack(:r, '{}'), 0, 'no ids are no events');
SELECT pg_temp.refused(format('SELECT eb_ack(%s, %L)', :r, ARRAY[:'e1', :'e2']), '55000', 'event %', 'an id that is settled already refuses the whole call');
SELECT pg_temp.refused(format('SELECT eb_ack(%s, %L)', :r, ARRAY[gen_random_uuid()]), '55000', 'event %', 'so does a foreign one');
SELECT pg_temp.refused(format('SELECT eb_ack(%s, %L)', :r, '{NULL}'), '22023', '%null%', 'and a NULL');
SELECT is((SELECT leased FROM pg_temp.queue('b')), 4::bigint, 'and nothing was changed');
SELECT is(eb_ack(:r, ARRAY[:'e1']::uuid[]), 1, 'the first is acked');
SELECT is(eb_ack(:r), 3, 'the rest under the same receipt');
SELECT is((SELECT queued + leased FROM pg_temp.queue('b')), 0::bigint, 'and nothing is left');

-- Fewer events than a batch has, and more.
SELECT eb_emit('batch.b', to_jsonb(i)) FROM generate_series(1, 5) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE p AS SELECT 1 AS call, * FROM eb_fetch('b', 2);
INSERT INTO p SELECT 2, * FROM eb_fetch('b', 1);
INSERT INTO p SELECT 3, * FROM eb_fetch('b');
SELECT results_eq('SELECT call, payload::int FROM p', 'VALUES (1, 1), (1, 2), (2, 3), (3, 4), (3, 5)', 'max_events cuts a batch in parts');
SELECT is((SELECT count(DISTINCT receipt) FROM p), 3::bigint, 'with a receipt each');
SELECT is((SELECT array_agg(DISTINCT attempt) FROM p), ARRAY[1], 'all at their first attempt');
SELECT is((SELECT sum(eb_ack(receipt)) FROM (SELECT DISTINCT receipt FROM p) r), 5::bigint, 'acked one by one');
SELECT eb_subscribe('small', batch_size => 2) \g /dev/null
SELECT eb_emit('batch.c', to_jsonb(i)) FROM generate_series(1, 9) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE m AS SELECT * FROM eb_fetch('small', 7);
SELECT results_eq('SELECT payload::int FROM m', ARRAY[1, 2, 3, 4, 5, 6, 7], 'several deliveries in one call, never more events than asked for');
SELECT is((SELECT count(DISTINCT receipt) FROM m), 4::bigint, 'each with its receipt');
SELECT is((SELECT sum(n) FROM (SELECT eb_ack(receipt) AS n FROM (SELECT DISTINCT receipt FROM eb_fetch('small')) r) a), 2::bigint,
    'fetched and acked in one statement');
SELECT is((SELECT queued FROM pg_temp.queue('small')), 0::bigint, 'which takes the rest');

-- Filtered runs are sparse: the same through offsets.
SELECT eb_subscribe('odd', '{batch.*}', '$.i % 2 == 1') \g /dev/null
SELECT eb_emit('batch.d', jsonb_build_object('i', i)) FROM generate_series(1, 2000) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE s AS SELECT * FROM eb_fetch('odd', 5);
SELECT results_eq($$SELECT (payload->>'i')::int FROM s$$, ARRAY[1, 3, 5, 7, 9], 'a sparse batch in parts');
SELECT is(eb_ack(receipt, array_agg(event_id)), 2, 'partly acked') FROM s WHERE payload->>'i' IN ('3', '9') GROUP BY receipt;
SELECT is(eb_ack(min(receipt)), 3, 'then wholly') FROM s;
SELECT is((SELECT count(*) FROM eb_fetch('odd', 10000)), 995::bigint, 'and the rest, once');

-- Fan-out and competition.
SELECT eb_subscribe('one', '{fan.*}'), eb_subscribe('two', '{fan.*}') \g /dev/null
SELECT eb_emit('fan.a', '1'), eb_emit('fan.a', '2') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('one', 1)$$, ARRAY[1], 'a consumer takes one event');
SELECT results_eq($$SELECT * FROM dblink('other', 'SELECT payload::int FROM eb_fetch(''one'')') AS t(i int)$$, ARRAY[2], 'another the other');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('two')$$, ARRAY[1, 2], 'another subscription gets both');

-- Transactions: exactly once with the consumer's own writes.
CREATE TABLE applied (i int);
SELECT eb_subscribe('tx', '{tx.*}') \g /dev/null
SELECT eb_emit('tx.a', '1'), eb_emit('tx.a', '2') \g /dev/null
SELECT eb_relay_run() \g /dev/null
BEGIN;
WITH f AS MATERIALIZED (SELECT * FROM eb_fetch('tx')), i AS (INSERT INTO applied SELECT payload::int FROM f)
SELECT sum(eb_ack(receipt)) FROM (SELECT DISTINCT receipt FROM f) r \g /dev/null
ROLLBACK;
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('tx')$$, 'VALUES (1, 1), (2, 1)', 'rolled back: available at once, and it was no attempt');
SELECT eb_emit('tx.a', '3') \g /dev/null
SELECT eb_relay_run() \g /dev/null
BEGIN;
SAVEPOINT a;
SELECT count(*) FROM eb_fetch('tx') \g /dev/null
SELECT is_empty($$SELECT * FROM eb_fetch('tx')$$, 'leased by ourselves');
ROLLBACK TO a;
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('tx')$$, 'VALUES (3, 1)', 'a rolled back savepoint gives it back, within the transaction');
COMMIT;
BEGIN;
SELECT eb_emit('tx.a', '4') \g /dev/null
ROLLBACK;
SELECT is_empty($$SELECT * FROM eb_fetch('tx')$$, 'nothing of a rolled back emit');
SELECT eb_seek('tx', eb_last_offset() + 1) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_emit('tx.a', '5') \g /dev/null
SELECT receipt AS r FROM eb_fetch('tx', wait => '10 s') \gset
BEGIN;
SELECT is(eb_ack(:r), 1, 'acked');
SELECT pg_temp.refused(format('SELECT eb_ack(%s)', :r), '55000', '%stale%', 'twice in one transaction is once too often');
ROLLBACK;
SELECT is((SELECT leased FROM pg_temp.queue('tx')), 1::bigint, 'a rolled back ack leaves the lease');
SELECT is(eb_ack(:r), 1, 'and the receipt is still good');

-- Two-phase commit.
SELECT eb_subscribe('twophase', '{two.*}') \g /dev/null
SELECT eb_emit('two.a', '1') \g /dev/null
SELECT eb_relay_run() \g /dev/null
BEGIN;
SELECT eb_ack(receipt) FROM eb_fetch('twophase') \g /dev/null
PREPARE TRANSACTION 'consumer';
SELECT is_empty($$SELECT * FROM eb_fetch('twophase')$$, 'what a prepared transaction took is not handed out');
ROLLBACK PREPARED 'consumer';
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('twophase', wait => '10 s')$$, 'VALUES (1, 1)', 'until that is rolled back');
SELECT eb_emit('two.a', '2') \g /dev/null
SELECT eb_relay_run() \g /dev/null
BEGIN;
SELECT eb_ack(receipt) FROM eb_fetch('twophase') \g /dev/null
PREPARE TRANSACTION 'consumer';
COMMIT PREPARED 'consumer';
SELECT is((SELECT leased FROM pg_temp.queue('twophase')), 1::bigint, 'or committed, which acks it');

-- Leases: take-over, and an ack that comes late.
SELECT eb_subscribe('l', '{lease.*}', lease => '1 us') \g /dev/null
SELECT eb_emit('lease.a', to_jsonb(i)) FROM generate_series(1, 3) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE l1 AS SELECT * FROM eb_fetch('l');
CREATE TEMP TABLE l2 AS SELECT * FROM eb_fetch('l', lease => '1 min', wait => '10 s');
SELECT results_eq('SELECT payload::int, attempt FROM l2', 'VALUES (1, 2), (2, 2), (3, 2)', 'a lease that ran out is taken over: a second attempt');
SELECT is((SELECT count(DISTINCT receipt) FROM l2), 3::bigint, 'one by one');
SELECT ok(l2.first_delivered_at = l1.first_delivered_at, 'the first delivery''s time stays') FROM l1 JOIN l2 USING (event_id) WHERE l1.payload = '2';
SELECT pg_temp.refused(format('SELECT eb_%s(%s)', f, (SELECT min(receipt) FROM l1)), '55000', 'receipt % is stale', 'the old receipt is stale for eb_' || f)
    FROM unnest(ARRAY['ack', 'nack', 'extend']) f;
SELECT is((SELECT sum(eb_ack(receipt)) FROM l2), 3::bigint, 'the new ones are good');
SELECT eb_emit('lease.a', '4') \g /dev/null
SELECT receipt AS r FROM eb_fetch('l', wait => '10 s') \gset
SELECT is((SELECT count(*) FROM eventbus.delivery WHERE lease_until < clock_timestamp()), 1::bigint, 'a lease that is over');
SELECT is(eb_ack(:r), 1, 'an ack after expiry that nobody has taken over counts');
SELECT eb_emit('lease.a', '5') \g /dev/null
SELECT receipt AS r FROM eb_fetch('l', wait => '10 s') \gset
SELECT ok(eb_extend(:r, '1 min') BETWEEN clock_timestamp() + interval '59 s' AND clock_timestamp() + interval '1 min', 'neither is eb_extend too late then');
SELECT is_empty($$SELECT * FROM eb_fetch('l')$$, 'and it holds');
SELECT ok(eb_extend(:r, '1 us') < clock_timestamp() + interval '1 s', 'it can make a lease shorter, too');
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('l', lease => '10 min', wait => '10 s')$$, 'VALUES (5, 2)', 'which ends it');
SELECT ok((SELECT lease_until FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id WHERE s.name = 'l')
    > clock_timestamp() + interval '9 min', 'a lease of one''s own');
SELECT eb_subscribe('l', '{lease.*}', lease => '5 min') \g /dev/null
SELECT eb_emit('lease.a', '6') \g /dev/null
SELECT receipt AS r FROM eb_fetch('l', wait => '10 s') \gset
SELECT ok(lease_until BETWEEN clock_timestamp() + interval '4 min' AND clock_timestamp() + interval '5 min', 'or the subscription''s')
    FROM eventbus.delivery WHERE seq = :r >> 16;
SELECT ok(eb_extend(:r) > clock_timestamp() + interval '4 min', 'which eb_extend takes as well');

-- Waiting.
SELECT eb_subscribe('w', '{wait.*}', lease => '30 ms') \g /dev/null
SELECT dblink_send_query('other', $$SELECT payload::int, clock_timestamp() FROM eb_fetch('w', wait => '20 s', lease => '1 min')$$) \g /dev/null
DO $$ BEGIN
    WHILE (SELECT COALESCE(sum(waiting), 0) FROM eventbus.stat_subscription()) = 0 LOOP PERFORM pg_stat_clear_snapshot(); END LOOP;
END $$;
SELECT pass('a waiting consumer is counted');
SELECT eb_emit('wait.a', '1') \g /dev/null
SELECT clock_timestamp() AS t \gset
SELECT results_eq(format($$SELECT i, at < %L::timestamptz + interval '2500 ms' FROM dblink_get_result('other') AS t(i int, at timestamptz)$$, :'t'),
    'VALUES (1, true)', 'it wakes at a commit');
SELECT * FROM dblink_get_result('other') AS t(i int, at timestamptz) \g /dev/null
SELECT is((SELECT sum(waiting) FROM eventbus.stat_subscription()), 0::bigint, 'and waits no more');
SELECT eb_emit('wait.a', '2') \g /dev/null
SELECT count(*) FROM eb_fetch('w', wait => '10 s') \g /dev/null
SELECT clock_timestamp() AS t \gset
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('w', wait => '10 s')$$, 'VALUES (2, 2)', 'it wakes when a lease runs out');
SELECT ok(clock_timestamp() - :'t' < interval '2500 ms', 'at once');
SELECT eb_seek('w', eb_last_offset() + 1) \g /dev/null
SELECT clock_timestamp() AS t \gset
SELECT is_empty($$SELECT * FROM eb_fetch('w', wait => '100 ms')$$, 'nothing came');
SELECT ok(clock_timestamp() - :'t' BETWEEN interval '100 ms' AND interval '1 s', 'and it waited for as long as asked');
SET eventbus.max_wait = '50 ms';
SELECT clock_timestamp() AS t \gset
SELECT is_empty($$SELECT * FROM eb_fetch('w', wait => '1 hour')$$, 'eventbus.max_wait caps');
SELECT ok(clock_timestamp() - :'t' < interval '5 s', 'the wait');
RESET eventbus.max_wait;
SET statement_timeout = '50 ms';
SELECT pg_temp.refused($$SELECT * FROM eb_fetch('w', wait => '20 s')$$, '57014', '%', 'statement_timeout ends a wait');
RESET statement_timeout;
SELECT is((SELECT sum(waiting) FROM eventbus.stat_subscription()), 0::bigint, 'and leaves no waiter');
BEGIN;
SELECT eb_pause('w') \g /dev/null
COMMIT;
SELECT dblink_send_query('other', $$SELECT payload::int FROM eb_fetch('w', wait => '20 s', lease => '10 min')$$) \g /dev/null
SELECT eb_emit('wait.a', '3') \g /dev/null
SELECT eb_resume('w') \g /dev/null
SELECT results_eq($$SELECT i FROM dblink_get_result('other') AS t(i int)$$, ARRAY[3], 'eb_resume lets a waiting consumer go on');
SELECT * FROM dblink_get_result('other') AS t(i int) \g /dev/null
SELECT dblink_send_query('other', $$SELECT payload::int FROM eb_fetch('w', wait => '20 s')$$) \g /dev/null
DO $$ BEGIN
    WHILE (SELECT COALESCE(sum(waiting), 0) FROM eventbus.stat_subscription()) = 0 LOOP PERFORM pg_stat_clear_snapshot(); END LOOP;
END $$;
SELECT eb_unsubscribe('w') \g /dev/null
SELECT throws_ok($$SELECT i FROM dblink_get_result('other') AS t(i int)$$, '42704', NULL, 'eb_unsubscribe ends a wait');
SELECT dblink_disconnect('other') \g /dev/null

-- Isolation levels.
SELECT eb_subscribe('i', '{iso.*}') \g /dev/null
SELECT eb_emit('iso.a', '1') \g /dev/null
SELECT eb_relay_run() \g /dev/null
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.refused($$SELECT * FROM eb_fetch('i', wait => '1 s')$$, '0A000', '%REPEATABLE READ%', 'no wait under REPEATABLE READ');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('i')$$, ARRAY[1], 'but a fetch');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pg_temp.refused($$SELECT * FROM eb_fetch('i', wait => '1 s')$$, '0A000', '%SERIALIZABLE%', 'nor under SERIALIZABLE');
SELECT is(eb_ack(receipt), 1, 'but a fetch and an ack') FROM eb_fetch('i');
COMMIT;
SELECT * FROM finish();
