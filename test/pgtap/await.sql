-- eb_await: acked, dead or timeout; wakes at once; can be cancelled and killed.
SELECT plan(33);
CREATE EXTENSION dblink;

CREATE FUNCTION pg_temp.conninfo() RETURNS text LANGUAGE sql AS $$
    SELECT format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'),
        current_setting('port'), current_database(), current_user)
$$;
SELECT dblink_connect('other', pg_temp.conninfo());
CREATE TEMP TABLE other AS SELECT pid FROM dblink('other', 'SELECT pg_backend_pid()') AS t(pid int);

-- the other session awaits; returns when it sleeps
CREATE FUNCTION pg_temp.other_awaits(args text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dblink_send_query('other', format('SELECT eb_await(%s)', args));
    FOR i IN 1..100000 LOOP
        PERFORM pg_stat_clear_snapshot();
        IF EXISTS (SELECT FROM pg_stat_activity a JOIN other o ON o.pid = a.pid WHERE wait_event = 'Extension') THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE 'the other session does not sleep';
END
$$;

-- its answer, or its error; with "late" if that took long enough to be a second look, not a wake-up
CREATE FUNCTION pg_temp.other_says() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz = clock_timestamp();
    answer text;
    late boolean;
BEGIN
    WHILE dblink_is_busy('other') = 1 LOOP
        IF clock_timestamp() > since + interval '10 s' THEN
            RAISE 'no answer';
        END IF;
    END LOOP;
    late := clock_timestamp() > since + interval '600 ms';
    SELECT a INTO answer FROM dblink_get_result('other', false) AS t(a text);
    answer := coalesce(answer, 'error: ' || dblink_error_message('other'));
    PERFORM * FROM dblink_get_result('other', false) AS t(a text);
    RETURN answer || CASE WHEN late THEN ', late' ELSE '' END;
END
$$;

SELECT eb_subscribe('one', topics => '{a.*}');
SELECT eb_subscribe('two', topics => '{a.*, b.*}', max_attempts => 1);

-- looking
BEGIN;
SELECT eb_emit('a.x', '0') AS gone \gset
SELECT throws_ok(format('SELECT eb_await(%L)', :'gone'), '55000', NULL, 'not in the transaction that emits');
ROLLBACK;
SELECT is(eb_await(:'gone', timeout => '20 ms'), 'timeout', 'an event that was never committed');
SELECT eb_emit('c.x', '1') AS c \gset
SELECT eb_relay_run();
SELECT is(eb_await(:'c', timeout => '0'), 'acked', 'an event that nobody wants has nothing outstanding');
SELECT eb_emit('a.x', '2') AS a \gset
SELECT eb_relay_run();
SELECT is(eb_await(:'a', timeout => '0'), 'timeout', 'pending in both');
SELECT is(eb_await(:'a', 'one', '0'), 'timeout', 'pending in one');
BEGIN;
SELECT eb_ack(receipt) FROM eb_fetch('one');
SELECT is(eb_await(:'a', 'one', '0'), 'acked', 'an own ack counts');
ROLLBACK;
SELECT is(eb_await(:'a', 'one', '0'), 'timeout', 'until it is rolled back');
SELECT eb_ack(receipt) FROM eb_fetch('one');
SELECT is(eb_await(:'a', 'one', '0'), 'acked', 'acked in one');
SELECT is(eb_await(:'a', timeout => '0'), 'timeout', 'but not in two');
SELECT eb_nack(receipt) FROM eb_fetch('two');
SELECT is(eb_await(:'a', 'two', '0'), 'dead', 'dead in two');
SELECT is(eb_await(:'a', timeout => '0'), 'dead', 'so dead on the whole');
SELECT is(eb_await(:'a', 'one', '0'), 'acked', 'but not in one');
SELECT eb_dlq_replay(subscription => 'two');
SELECT is(eb_await(:'a', 'two', '0'), 'timeout', 'replayed: pending again');
SELECT eb_ack(receipt) FROM eb_fetch('two');
SELECT is(eb_await(:'a', timeout => '0'), 'acked', 'and settled');

-- retries, delays, partial acks
SELECT eb_emit('a.x', '3') AS a1 \gset
SELECT eb_emit('a.x', '4', deliver_at => clock_timestamp() + interval '1 hour') AS a2 \gset
SELECT eb_relay_run();
SELECT eb_ack(receipt) FROM eb_fetch('two');
SELECT eb_nack(receipt, retry_after => '1 hour') FROM eb_fetch('one');
SELECT is(eb_await(:'a1', timeout => '0'), 'timeout', 'a retry is pending');
SELECT is(eb_await(:'a2', timeout => '0'), 'timeout', 'so is what is delayed');
SELECT eb_emit('a.x', to_jsonb(i)) FROM generate_series(5, 7) i;
SELECT eb_relay_run();
CREATE TEMP TABLE part AS SELECT * FROM eb_fetch('one');
SELECT eb_ack(receipt, ARRAY[event_id]) FROM part WHERE payload = '6';
SELECT results_eq($$SELECT eb_await(event_id, 'one', '0') FROM part ORDER BY "offset"$$,
    ARRAY['timeout', 'acked', 'timeout'], 'a part of a delivery');
SELECT eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM part) p;

-- waking
SELECT eb_emit('a.x', '8') AS a \gset
SELECT eb_relay_run();
SELECT pg_temp.other_awaits(format('%L, %L', :'a', 'one'));
SELECT eb_ack(receipt) FROM eb_fetch('one');
SELECT is(pg_temp.other_says(), 'acked', 'an ack wakes who waits for the subscription');
SELECT pg_temp.other_awaits(format('%L', :'a'));
SELECT eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM eb_fetch('two')) f;
SELECT is(pg_temp.other_says(), 'acked', 'the last ack wakes who waits for all');
SELECT eb_emit('b.x', '9') AS b \gset
SELECT eb_relay_run();
SELECT pg_temp.other_awaits(format('%L', :'b'));
SELECT eb_nack(receipt, reason => 'ValidationFailed') FROM eb_fetch('two');
SELECT is(pg_temp.other_says(), 'dead', 'a dead letter wakes');
SELECT eb_emit('b.x', '10') AS b \gset
SELECT eb_relay_run();
SELECT count(*) FROM eb_fetch('two', lease => '1 ms');
SELECT pg_temp.other_awaits(format('%L', :'b'));
DO $$
DECLARE
    until timestamptz = clock_timestamp() + interval '2 ms';
BEGIN
    WHILE clock_timestamp() < until LOOP
    END LOOP;
END
$$;
SELECT eb_relay_run();
SELECT is(pg_temp.other_says(), 'dead', 'so does one whose last lease ran out, though nobody fetches');
SELECT is(eb_await(:'b', 'two'), 'dead', 'and it stays dead');

-- an event that is not committed yet
BEGIN;
SELECT eb_emit('c.x', '11') AS c \gset
SELECT pg_temp.other_awaits(format('%L', :'c'));
COMMIT;
SELECT eb_relay_run();
SELECT is(pg_temp.other_says(), 'acked', 'an event is waited for that is not committed yet');
BEGIN;
SELECT eb_emit('b.x', '12') AS b \gset
SELECT pg_temp.other_awaits(format('%L, %L', :'b', 'two'));
COMMIT;
SELECT eb_relay_run();
SELECT eb_ack(receipt) FROM eb_fetch('two', wait => '5 s');
SELECT is(pg_temp.other_says(), 'acked', 'and then for its settlement');

-- interrupting
SELECT pg_temp.other_awaits(format('%L, timeout => %L', :'gone', '1 min'));
SELECT pg_cancel_backend(pid) FROM other;
SELECT alike(pg_temp.other_says(), 'error: %canceling statement%', 'a wait can be cancelled');
SELECT pg_temp.other_awaits(format('%L, timeout => %L', :'gone', '1 min'));
SELECT pg_terminate_backend(pid, 5000) FROM other;
SELECT alike(pg_temp.other_says(), 'error: %terminating connection%', 'and killed');
SELECT dblink_disconnect('other');
SELECT dblink_connect('other', pg_temp.conninfo());
DELETE FROM other;
INSERT INTO other SELECT pid FROM dblink('other', 'SELECT pg_backend_pid()') AS t(pid int);
SELECT eb_emit('b.x', '13') AS b \gset
SELECT eb_relay_run();
SELECT pg_temp.other_awaits(format('%L, %L', :'b', 'two'));
SELECT eb_ack(receipt) FROM eb_fetch('two');
SELECT is(pg_temp.other_says(), 'acked', 'which disturbs nobody else');

-- refusals and caps
SELECT throws_ok('SELECT eb_await(NULL)', '22023', NULL, 'an id is needed');
SELECT throws_ok('SELECT eb_await(gen_random_uuid())', '22023', NULL, 'of version 7');
SELECT throws_ok(format('SELECT eb_await(%L, %L)', :'b', 'nobody'), '42704', NULL, 'and a subscription that exists');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok(format('SELECT eb_await(%L)', :'b'), '0A000', NULL, 'no waiting under REPEATABLE READ');
SELECT is(eb_await(:'b', timeout => '0'), 'acked', 'but looking');
COMMIT;
SET eventbus.max_wait = '10 ms';
SELECT is(eb_await(:'gone', timeout => '1 hour'), 'timeout', 'eventbus.max_wait caps the timeout');

SELECT * FROM finish();
