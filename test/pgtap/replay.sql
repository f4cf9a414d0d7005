-- eb_replay: history again, by offset, time, topics and filter, flagged, never past the safe offset, beside live traffic.
\ir common.psql
SELECT plan(36);
SELECT eb_subscribe('r', '{re.*}', '$.n > 1') \g /dev/null
SELECT eb_emit(CASE WHEN i % 2 = 0 THEN 're.even' ELSE 're.odd' END, jsonb_build_object('n', i), headers => jsonb_build_object('k', (i % 3)::text))
    FROM generate_series(1, 10) i \g /dev/null
SELECT eb_emit('other.a', '{"n": 100}') \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE FUNCTION pg_temp.drain(name text) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    n int[];
BEGIN
    WITH f AS MATERIALIZED (SELECT * FROM eb_fetch(name, 100000)), a AS MATERIALIZED (SELECT eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM f) r)
    SELECT array_agg((payload->>'n')::int ORDER BY "offset") INTO n FROM f WHERE (SELECT count(*) FROM a) > 0;
    RETURN n;
END $$;
SELECT is(pg_temp.drain('r'), '{2,3,4,5,6,7,8,9,10}', 'live: the filter holds');
SELECT "offset" AS o5 FROM eb_read(0, 1000) WHERE payload->>'n' = '5' \gset
SELECT "offset" AS o8 FROM eb_read(0, 1000) WHERE payload->>'n' = '8' \gset

SELECT is(eb_replay('r', from_offset => 1, dry_run => true), 9::bigint, 'dry_run counts');
SELECT is(pg_temp.drain('r'), NULL, 'and delivers nothing');
SELECT is(eb_replay('r', from_offset => 0), 9::bigint, 'the whole log, through the subscription''s topics and filter');
SELECT is((SELECT array_agg(DISTINCT row(attempt, replayed)::text) FROM (SELECT * FROM eb_fetch('r')) f), ARRAY['(1,t)'], 'flagged, at the first attempt');
SELECT eb_seek('r', eb_last_offset() + 1) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is(eb_replay('r', :o5, :o8), 4::bigint, 'from one offset to another, both included');
SELECT is(pg_temp.drain('r'), '{5,6,7,8}', 'these');
SELECT is(eb_replay('r', :o5, :o5), 1::bigint, 'a single one');
SELECT is(eb_replay('r', :o8, :o5), 0::bigint, 'none if the end is before the start');
SELECT is(eb_replay('r', eb_last_offset() + 1), 0::bigint, 'none past the end');
SELECT is(eb_replay('r', 1, 1000000000), 9::bigint, 'an end past the end is the end');
SELECT is(pg_temp.drain('r'), '{2,3,4,5,5,6,7,8,9,10}', 'an event may be replayed twice');
SELECT is(eb_replay('r', 1, topics => '{re.even}'), 5::bigint, 'topics narrow further');
SELECT is(pg_temp.drain('r'), '{2,4,6,8,10}', 'these');
SELECT is(eb_replay('r', 1, topics => '{re.even,!re.even}'), 0::bigint, 'exclusion holds');
SELECT is(eb_replay('r', 1, topics => '{other.*}'), 0::bigint, 'topics do not widen');
SELECT is(eb_replay('r', 1, filter => '$.n < 5 && $headers.k == "1"'), 1::bigint, 'a filter narrows');
SELECT is(pg_temp.drain('r'), '{4}', 'this one');
SELECT is(eb_replay('r', 1, filter => '$.n.x.y == 5'), 0::bigint, 'an error in a filter is no match');

-- By time.
SELECT eb_relay_run() \g /dev/null
SELECT clock_timestamp() AS t \gset
SELECT eb_emit('re.odd', '{"n": 11}') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is(pg_temp.drain('r'), '{11}', 'a live one');
SELECT ok(eb_replay('r', from_time => :'t') BETWEEN 1 AND 10, 'by time: nothing since is missing');
SELECT ok(11 = ANY (pg_temp.drain('r')), 'nor that one');
SELECT is(eb_replay('r', from_time => '2001-01-01', to_time => '2001-01-02', dry_run => true), 0::bigint, 'nothing then');
SELECT is(eb_replay('r', from_time => '2001-01-01', to_time => clock_timestamp() + interval '1 hour', dry_run => true), 10::bigint, 'everything until tomorrow');

-- Transactions and live traffic.
BEGIN;
SELECT eb_replay('r', 1) \g /dev/null
ROLLBACK;
SELECT is_empty($$SELECT * FROM eb_fetch('r')$$, 'a replay that is rolled back enqueues nothing');
BEGIN;
SELECT eb_emit('re.odd', '{"n": 12}') \g /dev/null
SELECT is(eb_replay('r', 1), 10::bigint, 'our own uncommitted event is past the safe offset');
COMMIT;
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT count(*) FILTER (WHERE replayed)::text || '+' || count(*) FILTER (WHERE NOT replayed) FROM (SELECT * FROM eb_fetch('r')) f), '10+1',
    'replayed and live ones side by side');
SELECT is((SELECT count(*) FROM eventbus.event WHERE type LIKE 're.%'), 12::bigint, 'nothing was written to the log');

-- In an ordered subscription: in order.
SELECT eb_subscribe('o', '{re.*}', ordering => 'aggregate', batch_size => 1) \g /dev/null
SELECT eb_emit('re.even', jsonb_build_object('n', i), 'one') FROM generate_series(21, 24) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT array_agg((payload->>'n')::int) FROM (SELECT * FROM eb_fetch('o')) f), '{21}', 'ordered: one batch at a time');
SELECT is(eb_replay('o', from_offset => (SELECT min("offset") FROM eventbus.event WHERE aggregate_id = 'one')), 4::bigint, 'replayed meanwhile');
SELECT is((SELECT array_agg((payload->>'n')::int) FROM (SELECT * FROM eb_fetch('o')) f), NULL, 'which does not pass what is leased');

-- Refused.
SELECT pg_temp.refused(q, s, m, n) FROM (VALUES
    ($$SELECT eb_replay('none', 1)$$, '42704', '%"none"%', 'an unknown subscription'),
    ($$SELECT eb_replay('r', from_offset => -1)$$, '22023', '%negative%', 'a negative offset'),
    ($$SELECT eb_replay('r', 1, topics => '{A.b}')$$, '22023', '%', 'a malformed topic'),
    ($$SELECT eb_replay('r', 1, filter => '$nope == 1')$$, '22023', '%nope%', 'an unknown variable'),
    ($$SELECT eb_replay('r')$$, '22023', '%start%', 'no start')) AS v(q, s, m, n);
SELECT * FROM finish();
