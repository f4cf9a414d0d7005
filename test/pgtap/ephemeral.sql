-- Subscriptions with durable => false: the session's own, no writes, the newest events only.
SELECT plan(46);
CREATE EXTENSION dblink;
CREATE FUNCTION pg_temp.conninfo() RETURNS text LANGUAGE sql AS $$
    SELECT format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'),
        current_setting('port'), current_database(), current_user)
$$;
SELECT dblink_connect('other', pg_temp.conninfo());

-- the last events that match
SELECT count(eb_emit(CASE WHEN i % 2 = 0 THEN 'a.even' ELSE 'a.odd' END, to_jsonb(i))) FROM generate_series(1, 100) i;
SELECT eb_subscribe('all', durable => false);
SELECT eb_subscribe('even', topics => '{*.even}', durable => false);
SELECT eb_subscribe('fives', filter => '$ >= 55 && $ < 60', durable => false);
SELECT eb_subscribe('begin', from_offset => 0, durable => false);
SELECT is((SELECT count(*) FROM eventbus.subscription), 0::bigint, 'nothing is written');
SELECT results_eq($$SELECT payload FROM eb_fetch('all')$$, 'SELECT to_jsonb(i) FROM generate_series(85, 100) i',
    'it begins with the last sixteen');
SELECT results_eq($$SELECT payload FROM eb_fetch('even')$$, 'SELECT to_jsonb(i) FROM generate_series(70, 100, 2) i',
    'of its topics');
SELECT results_eq($$SELECT payload FROM eb_fetch('fives')$$, 'SELECT to_jsonb(i) FROM generate_series(55, 59) i',
    'that its filter lets through');
SELECT is((SELECT count(*) FROM eb_fetch('begin', 1000)), 100::bigint, 'or with what it was told');
SELECT is((SELECT count(*) FROM eb_fetch('all')), 0::bigint, 'each comes once');

-- live
SELECT eb_emit('a.odd', '101');
SELECT is((SELECT count(*) FROM eb_fetch('even')), 0::bigint, 'what does not match does not come');
SELECT results_eq($$SELECT receipt, attempt, replayed, payload FROM eb_fetch('all')$$, $$VALUES (0::bigint, 1, false, '101'::jsonb)$$,
    'what is committed comes, with receipt 0, without a relay');
SELECT ok((SELECT first_delivered_at BETWEEN clock_timestamp() - interval '1 min' AND clock_timestamp() FROM eb_fetch('even') UNION ALL SELECT true LIMIT 1), 'columns are those of every delivery');
BEGIN;
SELECT eb_emit('a.even', '102');
SELECT is((SELECT count(*) FROM eb_fetch('all')), 0::bigint, 'what is not committed does not');
ROLLBACK;
SELECT is((SELECT count(*) FROM eb_fetch('all')), 0::bigint, 'nor what is rolled back');

-- receipts
SELECT is(eb_ack(0), 0, 'its receipts need no ack');
SELECT is(eb_nack(0), 0, 'nor take a nack');
SELECT is(eb_extend(0), NULL, 'and have no lease');

-- order, parts
SELECT eb_subscribe('ordered', durable => false, ordering => 'aggregate');
SELECT count(*) FROM eb_fetch('ordered');
SELECT eb_emit('a.even', to_jsonb(i), priority => i % 3) FROM generate_series(1, 6) i;
SELECT results_eq($$SELECT payload FROM eb_fetch('all', 4)$$, $$VALUES ('2'::jsonb), ('5'), ('1'), ('4')$$, 'by priority, then offset');
SELECT results_eq($$SELECT payload FROM eb_fetch('all', 4)$$, $$VALUES ('3'::jsonb), ('6')$$, 'the rest waits');
SELECT results_eq($$SELECT payload FROM eb_fetch('ordered')$$, 'SELECT to_jsonb(i) FROM generate_series(1, 6) i', 'by offset where order counts');

-- delayed
SELECT eb_emit('a.even', '"later"', deliver_at => clock_timestamp() + interval '30 ms');
SELECT is((SELECT count(*) FROM eb_fetch('all')), 0::bigint, 'what is due later');
SELECT is((SELECT payload FROM eb_fetch('all', wait => '5 s')), '"later"', 'comes when it is due');

-- the sliding buffer
SET eventbus.ephemeral_queue = 10;
SET eventbus.ephemeral_replay = 3;
SELECT eb_subscribe('small', durable => false);
SELECT is((SELECT count(*) FROM eb_fetch('small')), 3::bigint, 'eventbus.ephemeral_replay counts');
SELECT count(eb_emit('a.even', to_jsonb(i))) FROM generate_series(1, 35) i;
SELECT results_eq($$SELECT payload FROM eb_fetch('small', 4)$$, 'SELECT to_jsonb(i) FROM generate_series(26, 29) i',
    'the newest eventbus.ephemeral_queue are kept');
SELECT results_eq($$SELECT state, waiting, fetched, dropped FROM eb_stat_ephemeral() WHERE name = 'small'$$,
    $$VALUES ('active', 6, 7::bigint, 25::bigint)$$, 'the others are counted');
SELECT count(eb_emit('a.even', to_jsonb(i))) FROM generate_series(36, 41) i;
SELECT results_eq($$SELECT payload FROM eb_fetch('small')$$, 'SELECT to_jsonb(i) FROM generate_series(32, 41) i', 'and so on');
SELECT is((SELECT dropped FROM eb_stat_ephemeral() WHERE name = 'small'), 27::bigint, 'with what was left over');
SET eventbus.ephemeral_replay = 0;
SELECT eb_subscribe('none', durable => false);
SELECT is((SELECT count(*) FROM eb_fetch('none')), 0::bigint, 'it may begin with nothing');

-- pause, seek, settings
SELECT eb_pause('none');
SELECT eb_emit('a.even', '1');
SELECT is((SELECT count(*) FROM eb_fetch('none')), 0::bigint, 'paused it hands out nothing');
SELECT is((SELECT state FROM eb_stat_ephemeral() WHERE name = 'none'), 'paused', 'and says so');
SELECT eb_resume('none');
SELECT is((SELECT count(*) FROM eb_fetch('none')), 1::bigint, 'until it is resumed');
SELECT is(eb_seek('none', 100), 100::bigint, 'eb_seek moves it');
SELECT is((SELECT min("offset") FROM eb_fetch('none', 1000)), (SELECT max("offset") - 9 FROM eb_read(1, 1000)), 'within the buffer''s size');
SELECT eb_subscribe('none', topics => '{b.*}', durable => false);
SELECT eb_emit('a.even', '1');
SELECT eb_emit('b.x', '2');
SELECT results_eq($$SELECT type FROM eb_fetch('none')$$, ARRAY['b.x'], 'subscribing again changes the settings and keeps the position');

-- read-only, isolation
SELECT eb_emit('a.even', '1');
BEGIN READ ONLY;
SELECT lives_ok($$SELECT eb_subscribe('ro', durable => false, from_offset => 1)$$, 'subscribing in a read-only transaction');
SELECT is((SELECT count(*) FROM eb_fetch('ro')), 10::bigint, 'fetching');
SELECT is(eb_ack(0), 0, 'acknowledging');
SELECT ok(eb_unsubscribe('ro'), 'and unsubscribing');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok($$SELECT * FROM eb_fetch('all', wait => '1 s')$$, '0A000', NULL, 'no waiting under REPEATABLE READ');
ROLLBACK;

-- names
SELECT eb_subscribe('durable');
SELECT throws_ok($$SELECT eb_subscribe('durable', durable => false)$$, '42710', NULL, 'a durable one has the name');
SELECT throws_ok($$SELECT eb_subscribe('all')$$, '42710', NULL, 'or the session has');
SELECT ok(eb_unsubscribe('none'), 'eb_unsubscribe drops it');
SELECT throws_ok($$SELECT * FROM eb_fetch('none')$$, '42704', NULL, 'it is gone');
SELECT throws_ok($$SELECT * FROM dblink('other', 'SELECT payload FROM eb_fetch(''all'')') AS t(p jsonb)$$, '42704', NULL, 'other sessions do not see it');
SELECT throws_ok($$SELECT eb_subscribe('bad', topics => '{a..b}', durable => false)$$, '22023', NULL, 'arguments are checked');

-- waking: with a relay its pass does it, without one the commit
SELECT dblink_exec('other', 'DO $x$ BEGIN PERFORM eb_subscribe(''w'', topics => ''{w.*}'', durable => false); END $x$');
CREATE FUNCTION pg_temp.other_sleeps() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..100000 LOOP
        PERFORM pg_stat_clear_snapshot();
        IF EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'Extension' AND query LIKE '%eb_fetch(''w''%' AND pid <> pg_backend_pid()) THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE 'the other session does not sleep';
END
$$;
SELECT dblink_send_query('other', $$SELECT payload FROM eb_fetch('w', wait => '10 s')$$);
SELECT pg_temp.other_sleeps();
CREATE TEMP TABLE since AS SELECT clock_timestamp() AS at;
SELECT eb_emit('w.x', '1');
SELECT is((SELECT p FROM dblink_get_result('other') AS t(p jsonb)), '1', 'a commit wakes who waits');
SELECT cmp_ok(clock_timestamp() - (SELECT at FROM since), '<', interval '600 ms', 'and not its own timer');
SELECT count(*) FROM dblink_get_result('other') AS t(p jsonb);
SELECT dblink_exec('other', 'DISCARD ALL');
SELECT throws_ok($$SELECT * FROM dblink('other', 'SELECT payload FROM eb_fetch(''w'')') AS t(p jsonb)$$, '42704', NULL, 'DISCARD ALL drops it');
SELECT dblink_disconnect('other');

-- rights
CREATE ROLE eb_test_ephemeral;
GRANT EXECUTE ON FUNCTION eb_fetch TO eb_test_ephemeral;
SET ROLE eb_test_ephemeral;
SELECT throws_ok($$SELECT * FROM eb_fetch('all')$$, '42501', NULL, 'another role may not use it');
RESET ROLE;
DROP OWNED BY eb_test_ephemeral;
DROP ROLE eb_test_ephemeral;

SELECT * FROM finish();
