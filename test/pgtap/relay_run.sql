-- eb_relay_run(): passes in the calling session, next to the relay; what is rolled back was never made.
\ir common.psql
CREATE EXTENSION IF NOT EXISTS dblink;
SELECT plan(15);

SELECT eb_subscribe('r') \g /dev/null
SELECT eb_emit('run.a', '1') \g /dev/null
SELECT lives_ok('SELECT eb_relay_run() FROM generate_series(1, 5)', 'several passes in one statement');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('r')$$, ARRAY[1], 'route an event once');

-- The session holds the passes, so that the relay cannot be faster than it.
BEGIN;
SELECT eb_relay_run() \g /dev/null
SELECT dblink_connect('other', format('host=%s port=%s dbname=%I', split_part(current_setting('unix_socket_directories'), ',', 1),
    current_setting('port'), current_database())) FROM (SELECT) s \g /dev/null
SELECT * FROM dblink('other', $$SELECT eb_emit('run.a', '2')$$) AS t(id text) \g /dev/null
SAVEPOINT a;
SELECT is(eb_relay_run(), 1::bigint, 'a pass in a savepoint');
ROLLBACK TO a;
COMMIT;
SELECT results_eq($$SELECT payload::int FROM eb_fetch('r', wait => '10 s')$$, ARRAY[2], 'that is rolled back loses nothing');

BEGIN;
SELECT eb_relay_run() \g /dev/null
SELECT * FROM dblink('other', $$SELECT eb_emit('run.a', '3')$$) AS t(id text) \g /dev/null
SAVEPOINT a;
SELECT is(eb_relay_run(), 1::bigint, 'a pass in a savepoint');
RELEASE a;
SELECT is(eb_relay_run(), 0::bigint, 'is seen by the next pass of the transaction');
COMMIT;
SELECT results_eq($$SELECT payload::int FROM eb_fetch('r', wait => '10 s')$$, ARRAY[3], 'and counts once');

BEGIN;
SELECT eb_relay_run() \g /dev/null
SELECT * FROM dblink('other', $$SELECT eb_emit('run.a', '4')$$) AS t(id text) \g /dev/null
SELECT eb_relay_run() AS routed \gset
\set ON_ERROR_STOP off
PREPARE TRANSACTION 'pass';
\set state :SQLSTATE
\set ON_ERROR_STOP on
SELECT is(:'state' || ' ' || :routed, '0A000 1', 'a pass that notifies cannot be prepared');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('r', wait => '10 s')$$, ARRAY[4], 'which loses nothing');

BEGIN;
SELECT eb_relay_run() \g /dev/null
SELECT * FROM dblink('other', $$SELECT eb_emit('run.a', '5')$$) AS t(id text) \g /dev/null
SELECT eb_relay_run() \g /dev/null
ROLLBACK;
SELECT results_eq($$SELECT payload::int FROM eb_fetch('r', wait => '10 s')$$, ARRAY[5], 'nor one that is rolled back whole');

-- The clock was an hour ahead and was set back: no event since then may lie below eb_offset_at.
BEGIN;
SELECT eb_relay_run() \g /dev/null
UPDATE eventbus.progress SET at = at + interval '1 hour';
SELECT * FROM dblink('other', $$SELECT eb_emit('run.a', '6')$$) AS t(id text) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is(eb_offset_at(clock_timestamp()), 1::bigint, 'times do not fall with the clock');
ROLLBACK;
SELECT results_eq($$SELECT payload::int FROM eb_fetch('r', wait => '10 s')$$, ARRAY[6], 'and the event comes');

-- The subscriptions are read anew between the pass and its commit.
BEGIN;
SELECT eb_relay_run() \g /dev/null
SELECT * FROM dblink('other', $$SELECT eb_emit('run.a', '7')$$) AS t(id text) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_subscribe('late', '{late.*}'), eb_pause('late'), eb_resume('late') \g /dev/null
COMMIT;
SELECT results_eq($$SELECT payload::int FROM eb_fetch('r', wait => '10 s')$$, ARRAY[7], 'what a pass routed is there when the subscriptions change before it commits');
SELECT dblink_disconnect('other') \g /dev/null

BEGIN READ ONLY;
SELECT throws_ok('SELECT eb_relay_run()', '25006', NULL, 'no pass in a read-only transaction');
ROLLBACK;
SELECT is_empty($$SELECT * FROM eb_fetch('r')$$, 'nothing came twice');
SELECT * FROM finish();
