-- eb_once: true for the first that asks and commits, in a scope, within the window.
SELECT plan(22);
CREATE EXTENSION dblink;
SELECT dblink_connect('other', format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'),
    current_setting('port'), current_database(), current_user));
CREATE TEMP TABLE other AS SELECT pid FROM dblink('other', 'SELECT pg_backend_pid()') AS t(pid int);

-- a version 7 UUID of a time
CREATE FUNCTION pg_temp.uuid_at(at timestamptz, n int = 0) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid
$$;

-- the other session asks; returns when it waits for a lock
CREATE FUNCTION pg_temp.other_asks(query text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dblink_send_query('other', query);
    FOR i IN 1..100000 LOOP
        PERFORM pg_stat_clear_snapshot();
        IF EXISTS (SELECT FROM pg_stat_activity a JOIN other o ON o.pid = a.pid WHERE wait_event_type = 'Lock') THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE 'the other session does not wait';
END
$$;
CREATE FUNCTION pg_temp.other_says() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    answer boolean;
BEGIN
    SELECT a INTO answer FROM dblink_get_result('other') AS t(a boolean);
    PERFORM * FROM dblink_get_result('other') AS t(a boolean);
    RETURN answer;
END
$$;

SELECT eb_emit('a.b', '1') AS a \gset
SELECT ok(eb_once('mail', :'a'), 'the first time');
SELECT ok(NOT eb_once('mail', :'a'), 'not the second');
SELECT ok(eb_once('sms', :'a'), 'another scope is another matter');
SELECT ok(eb_once('mail', pg_temp.uuid_at(clock_timestamp(), 1)), 'so is another event');
SELECT is((SELECT count(*) FROM eventbus.once), 3::bigint, 'all three are remembered');
BEGIN;
SELECT ok(eb_once('x', :'a'), 'first in a transaction');
SELECT ok(NOT eb_once('x', :'a'), 'which sees it itself');
SAVEPOINT s;
SELECT ok(eb_once('y', :'a'), 'in a savepoint');
ROLLBACK TO s;
SELECT ok(eb_once('y', :'a'), 'that was rolled back');
ROLLBACK;
SELECT ok(eb_once('x', :'a'), 'rolled back, it was not');

-- two sessions
BEGIN;
SELECT eb_once('both', :'a');
SELECT pg_temp.other_asks(format('SELECT eb_once(%L, %L)', 'both', :'a'));
COMMIT;
SELECT ok(NOT pg_temp.other_says(), 'who comes second waits, and is second after a commit');
BEGIN;
SELECT eb_once('again', :'a');
SELECT pg_temp.other_asks(format('SELECT eb_once(%L, %L)', 'again', :'a'));
ROLLBACK;
SELECT ok(pg_temp.other_says(), 'and first after a rollback');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM eventbus.once;
SELECT answer FROM dblink('other', format('SELECT eb_once(%L, %L)', 'late', :'a')) AS t(answer boolean);
SELECT ok(NOT eb_once('late', :'a'), 'what a snapshot does not show counts as well');
COMMIT;

-- the window
SELECT throws_ok('SELECT eb_once(''mail'', gen_random_uuid())', '22023', NULL, 'version 7 only');
SELECT throws_ok($$SELECT eb_once('mail', pg_temp.uuid_at(clock_timestamp() - interval '25 h'))$$, '22023', NULL, 'not too old');
SELECT throws_ok($$SELECT eb_once('mail', pg_temp.uuid_at(clock_timestamp() + interval '6 min'))$$, '22023', NULL, 'nor too far ahead');
SELECT ok(eb_once('mail', pg_temp.uuid_at(clock_timestamp() - interval '23 h')), 'an event may have waited');
SELECT throws_ok(format('SELECT eb_once(%L, %L)', '', :'a'), '22023', NULL, 'a scope is needed');
SELECT throws_ok(format('SELECT eb_once(NULL, %L)', :'a'), '22023', NULL, 'in any case');

-- forgetting is dropping a table
CREATE TABLE eventbus.once_old (LIKE eventbus.once, PRIMARY KEY (event_id, scope));
INSERT INTO eventbus.once_old VALUES (pg_temp.uuid_at(clock_timestamp() - interval '60 h'), 'mail');
DO $$
BEGIN
    EXECUTE format('ALTER TABLE eventbus.once ATTACH PARTITION eventbus.once_old FOR VALUES FROM (%L) TO (%L)',
        pg_temp.uuid_at(clock_timestamp() - interval '72 h'), pg_temp.uuid_at(clock_timestamp() - interval '48 h'));
END
$$;
DO $$
BEGIN
    FOR i IN 1..50 LOOP         -- the relay may be at it, too
        PERFORM eb_relay_run();
        EXIT WHEN to_regclass('eventbus.once_old') IS NULL;
    END LOOP;
END
$$;
SELECT is(to_regclass('eventbus.once_old'), NULL, 'the relay drops what has left the window');
SELECT ok(NOT eb_once('mail', :'a'), 'and nothing else');

CREATE ROLE eb_test_once;
SET ROLE eb_test_once;
SELECT throws_ok(format('SELECT eb_once(%L, %L)', 'mail', :'a'), '42501', NULL, 'EXECUTE is needed');
RESET ROLE;
DROP ROLE eb_test_once;

SELECT * FROM finish();
