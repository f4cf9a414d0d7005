-- Dead letters: what they keep, replaying them by hand and by themselves, foreign ones, purging.
\ir common.psql
SELECT plan(77);
CREATE FUNCTION pg_temp.die(name text, why eb_reason) RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(eb_nack(receipt, ARRAY[event_id], 'no good', why)) FROM (SELECT * FROM eb_fetch(name, wait => '10 s')) f
$$;

-- A letter keeps its event.
SELECT eb_subscribe('s', '{dead.*}', max_attempts => 1) \g /dev/null
SELECT eb_emit('dead.a', '{"x": 1}', 'agg', headers => '{"k": "v"}') AS id \gset
SELECT is(pg_temp.die('s', 'ValidationFailed'), 1::bigint, 'an event dies');
SELECT is((SELECT to_jsonb(l) - '{id,history,first_failed_at,dead_at,offset}'::text[] FROM eventbus.dead_letter l), jsonb_build_object(
    'source', 'eventbus', 'subscription', 's', 'event_id', :'id', 'type', 'dead.a', 'aggregate_id', 'agg', 'payload', '{"x": 1}'::jsonb,
    'headers', '{"k": "v"}'::jsonb, 'reason', 'ValidationFailed', 'error', 'no good', 'attempts', 1, 'replays', 0, 'replay_at', NULL),
    'a dead letter has all of its event');
SELECT is((SELECT "offset" FROM eventbus.dead_letter), (eb_get(:'id'))."offset", 'and its offset');

-- Replay: once, as new, with its history.
SELECT id FROM eventbus.dead_letter \gset letter_
SELECT is(eb_dlq_replay(ARRAY[:letter_id], dry_run => true), 1::bigint, 'dry_run counts');
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 1::bigint, 'and does nothing');
SELECT is(eb_dlq_replay(ARRAY[:letter_id, :letter_id, 999]), 1::bigint, 'a letter is replayed');
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 0::bigint, 'and is a letter no more');
SELECT is(eb_dlq_replay(ARRAY[:letter_id]), 0::bigint, 'once');
CREATE TEMP TABLE r AS SELECT * FROM eb_fetch('s', wait => '10 s');
SELECT results_eq('SELECT event_id, attempt, replayed, payload, headers, aggregate_id FROM r',
    format($$VALUES (%L::uuid, 1, true, '{"x": 1}'::jsonb, '{"k": "v"}'::jsonb, 'agg')$$, :'id'), 'the event comes again, flagged, at its first attempt');
SELECT is(eb_nack(receipt, error => 'still'), 1, 'it fails again') FROM r;
SELECT results_eq('SELECT reason::text, attempts, replays, jsonb_array_length(history) FROM eventbus.dead_letter', $$VALUES ('MaxRetries', 1, 1, 2)$$,
    'and is dead again, with its history');
SELECT is(eb_dlq_replay(subscription => 's'), 1::bigint, 'by subscription');
SELECT is(eb_ack(receipt), 1, 'acked this time') FROM eb_fetch('s', wait => '10 s');
SELECT is((SELECT count(*) FROM eventbus.dead_letter) + (SELECT queued + leased FROM pg_temp.queue('s')), 0::bigint, 'which is its end');

-- Selectors.
SELECT eb_subscribe('t', '{dead.*}', max_attempts => 1) \g /dev/null
SELECT eb_emit('dead.b', to_jsonb(i)), eb_emit('dead.c', to_jsonb(i)) FROM generate_series(1, 3) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT pg_temp.die('s', 'DeliveryFailed'), pg_temp.die('t', 'ValidationFailed') \g /dev/null
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 12::bigint, 'twelve letters');
SELECT is(eb_dlq_replay(type => 'dead.b', dry_run => true), 6::bigint, 'by type');
SELECT is(eb_dlq_replay(reason => 'MaxRetries', dry_run => true), 6::bigint, 'by reason');
SELECT is(eb_dlq_replay(source => 'eventbus', dry_run => true), 12::bigint, 'by source');
SELECT is(eb_dlq_replay(subscription => 't', type => 'dead.c', dry_run => true), 3::bigint, 'by two of them');
SELECT is(eb_dlq_replay(subscription => 't', reason => 'MaxRetries', dry_run => true), 0::bigint, 'that exclude each other');
SELECT is(eb_dlq_replay(subscription => 't', max_rows => 2, dry_run => true), 2::bigint, 'at most max_rows');
SELECT is(eb_dlq_replay(type => 'dead.b', max_rows => 4), 4::bigint, 'replayed by type, of both subscriptions');
SELECT is((SELECT count(*) FROM eb_fetch('s', wait => '10 s')) + (SELECT count(*) FROM eb_fetch('t', wait => '10 s')), 4::bigint, 'and delivered');
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 8::bigint, 'the others stay');
SELECT is(eb_dlq_replay('{}'), 0::bigint, 'no ids are no letters');
SELECT pg_temp.refused('SELECT eb_dlq_replay()', '22023', '%selector%', 'no selector is not everything');
SELECT pg_temp.refused('SELECT eb_dlq_replay(max_rows => 5)', '22023', '%selector%', 'nor is max_rows one');
SELECT pg_temp.refused('SELECT eb_dlq_replay(dry_run => true)', '22023', '%selector%', 'nor dry_run');
SELECT pg_temp.refused($$SELECT eb_dlq_replay(type => 'x.y', max_rows => 0)$$, '22023', '%max_rows%', 'max_rows is positive');
SELECT pg_temp.refused($$SELECT eb_dlq_replay(subscription => 'none')$$, '42704', '%"none"%', 'of an unknown subscription');
BEGIN;
SELECT eb_dlq_replay(subscription => 't') \g /dev/null
ROLLBACK;
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 8::bigint, 'a replay that is rolled back leaves the letters');
SELECT is_empty($$SELECT * FROM eb_fetch('t')$$, 'and enqueues nothing');

-- Purge.
SELECT pg_temp.refused('SELECT eb_dlq_purge()', '22023', '%selector%', 'no selector is not everything here, too');
SELECT pg_temp.refused($$SELECT eb_dlq_purge(older_than => '-1 s')$$, '22023', '%older_than%', 'nor a negative age');
SELECT is(eb_dlq_purge(older_than => '1 hour'), 0::bigint, 'none is that old');
SELECT is(eb_dlq_purge(subscription => 's'), (8 - (SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 't'))::bigint, 'purged by subscription');
SELECT is(eb_dlq_purge(ids => ARRAY(SELECT id FROM eventbus.dead_letter ORDER BY id LIMIT 1)), 1::bigint, 'by id');
SELECT is(eb_dlq_purge('{}'), 0::bigint, 'no ids are none');
SELECT ok(eb_dlq_purge(older_than => '0') > 0, 'by age');
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 0::bigint, 'all gone');

-- A subscription that is gone leaves its letters.
SELECT eb_emit('dead.d', '1') \g /dev/null
SELECT pg_temp.die('t', 'HandlerMissing') \g /dev/null
SELECT eb_unsubscribe('t') \g /dev/null
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 't'), 1::bigint, 'unsubscribing leaves the letters');
SELECT is(eb_dlq_replay(type => 'dead.d'), 0::bigint, 'which cannot be replayed');
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 't'), 1::bigint, 'and stay');
SELECT eb_subscribe('t', '{dead.*}', max_attempts => 1) \g /dev/null
SELECT is(eb_dlq_replay(subscription => 't'), 1::bigint, 'until there is one of that name again');
SELECT results_eq($$SELECT type, replayed FROM eb_fetch('t', wait => '10 s')$$, $$VALUES ('dead.d', true)$$, 'which gets them');
SELECT eb_unsubscribe('s'), eb_unsubscribe('t') \g /dev/null

-- By itself.
SELECT eb_subscribe('auto', '{auto.*}', max_attempts => 1, dlq_replay_after => '20 ms', dlq_replay_max => 2) \g /dev/null
SELECT eb_emit('auto.a', '1') \g /dev/null
SELECT receipt AS r FROM eb_fetch('auto', wait => '10 s') \gset
SELECT eb_nack(:r) \g /dev/null
SELECT results_eq($$SELECT attempt, replayed FROM eb_fetch('auto', wait => '10 s')$$, 'VALUES (1, true)', 'a letter is replayed by itself');
SELECT eb_nack((seq << 16) | (token::int & 65535)) FROM eventbus.delivery \g /dev/null
SELECT results_eq($$SELECT attempt, replayed FROM eb_fetch('auto', wait => '10 s')$$, 'VALUES (1, true)', 'and again');
SELECT eb_nack((seq << 16) | (token::int & 65535)) FROM eventbus.delivery \g /dev/null
SELECT results_eq('SELECT replays, replay_at, jsonb_array_length(history) FROM eventbus.dead_letter', 'VALUES (2, NULL::timestamptz, 3)', 'but no more than dlq_replay_max times');
SELECT eb_dlq_purge(subscription => 'auto') \g /dev/null
SELECT eb_emit('auto.b', '1') \g /dev/null
SELECT pg_temp.die('auto', 'ValidationFailed') \g /dev/null
SELECT is((SELECT replay_at FROM eventbus.dead_letter), NULL, 'what failed for good is not');
SELECT eb_dlq_purge(subscription => 'auto') \g /dev/null
SELECT eb_subscribe('auto', '{auto.*}', max_attempts => 1, dlq_replay_after => '1 hour') \g /dev/null
SELECT eb_emit('auto.c', to_jsonb(i)) FROM generate_series(1, 200) i \g /dev/null
SELECT pg_temp.die('auto', 'HandlerTimeout') \g /dev/null
SELECT eb_subscribe('auto', '{auto.*}', dlq_replay_after => '1 hour') \g /dev/null
SELECT pg_temp.die('auto', 'HandlerTimeout') \g /dev/null
SELECT ok(min(replay_at - dead_at) >= interval '1 hour' AND max(replay_at - dead_at) <= interval '90 min', 'after the delay') FROM eventbus.dead_letter;
SELECT ok(max(replay_at - dead_at) - min(replay_at - dead_at) > interval '10 min', 'spread over time') FROM eventbus.dead_letter;
SELECT eb_unsubscribe('auto'), eb_dlq_purge(source => 'eventbus') \g /dev/null

-- Foreign letters.
SELECT eb_dead_letter('jobs', 'mail.send', '{"to": "x"}', 'DeliveryFailed', 'smtp', 7, '{"h": "1"}') AS id \gset
SELECT is((SELECT to_jsonb(l) - '{id,history,first_failed_at,dead_at}'::text[] FROM eventbus.dead_letter l), '{"source": "jobs", "subscription": null,
    "offset": null, "event_id": null, "type": "mail.send", "aggregate_id": null, "payload": {"to": "x"}, "headers": {"h": "1"}, "reason": "DeliveryFailed",
    "error": "smtp", "attempts": 7, "replays": 0, "replay_at": null}'::jsonb, 'a foreign letter is recorded');
SELECT ok(id = :id AND dead_at > now() - interval '1 min', 'under the id that was returned') FROM eventbus.dead_letter;
SELECT pg_temp.refused($$SELECT eb_dlq_replay(source => 'jobs')$$, '42704', '%"jobs"%', 'without a function it cannot be replayed');
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 1::bigint, 'and stays');
CREATE TABLE put_back (payload jsonb);
CREATE FUNCTION put_back(l eventbus.dead_letter) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF l.payload ? 'broken' THEN RAISE EXCEPTION 'broken'; END IF;
    INSERT INTO public.put_back VALUES (l.payload);
END $$;
CREATE FUNCTION no_replay(text) RETURNS void LANGUAGE sql AS '';
SELECT pg_temp.refused($$SELECT eb_dlq_source('jobs', 'no_replay(text)')$$, '22023', '%cannot replay%', 'not every function will do');
SELECT lives_ok($$SELECT eb_dlq_source('jobs', 'put_back(eventbus.dead_letter)')$$, 'a source gets its function');
SELECT is(eb_dlq_replay(source => 'jobs'), 1::bigint, 'replayed');
SELECT results_eq('SELECT payload FROM put_back', $$VALUES ('{"to": "x"}'::jsonb)$$, 'by that function');
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 0::bigint, 'and gone');
SELECT eb_dead_letter('jobs', 'mail.send', '{"broken": 1}', 'MaxRetries'), eb_dead_letter('jobs', 'mail.send', '{}', 'MaxRetries') \g /dev/null
SELECT throws_ok($$SELECT eb_dlq_replay(source => 'jobs')$$, 'P0001', 'broken', 'if the function fails, so does the replay');
SELECT is((SELECT count(*) FROM eventbus.dead_letter) + (SELECT count(*) FROM put_back), 3::bigint, 'and leaves all as it was');
SELECT is(current_user::text, 'postgres', 'and us who we are');
SELECT lives_ok($$SELECT eb_dlq_source('jobs', NULL)$$, 'a source can lose its function');
SELECT pg_temp.refused($$SELECT eb_dlq_replay(source => 'jobs')$$, '42704', '%"jobs"%', 'and then has none');
SELECT is(eb_dlq_purge(source => 'jobs'), 2::bigint, 'purged by source');
SELECT pg_temp.refused(q, '22023', m, n) FROM (VALUES
    ($$SELECT eb_dead_letter('eventbus', 'a.b', '1', 'MaxRetries')$$, '%reserved%', 'the bus''s own source is reserved'),
    ($$SELECT eb_dlq_source('eventbus', 'put_back(eventbus.dead_letter)')$$, '%reserved%', 'for its function, too'),
    ($$SELECT eb_dead_letter(NULL, 'a.b', '1', 'MaxRetries')$$, '%source%', 'a letter without a source'),
    ($$SELECT eb_dead_letter('', 'a.b', '1', 'MaxRetries')$$, '%source%', 'or an empty one'),
    ($$SELECT eb_dead_letter('jobs', NULL, '1', 'MaxRetries')$$, '%type%', 'without a type'),
    ($$SELECT eb_dead_letter('jobs', 'a', NULL, 'MaxRetries')$$, '%payload%', 'without a payload'),
    ($$SELECT eb_dead_letter('jobs', 'a', '1', NULL)$$, '%reason%', 'without a reason'),
    ($$SELECT eb_dead_letter('jobs', 'a', '1', 'MaxRetries', attempts => -1)$$, '%attempts%', 'with negative attempts')) AS v(q, m, n);

-- Many at once, small and large, with and without what may be absent.
SELECT eb_subscribe('many', '{many.*}', max_attempts => 1, batch_size => 1000) \g /dev/null
SELECT count(eb_emit('many.' || (ARRAY['a', 'b'])[1 + i % 2], CASE WHEN i % 60 = 7 THEN to_jsonb(repeat(md5(i::text), 22000)) ELSE to_jsonb(i) END,
    CASE WHEN i % 3 = 0 THEN 'agg' || i END, headers => CASE WHEN i % 5 = 0 THEN jsonb_build_object('i', i::text) END))
FROM generate_series(1, 250) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT sum(eb_nack(receipt, reason => 'ValidationFailed')) FROM (SELECT DISTINCT receipt FROM eb_fetch('many', 1000, wait => '10 s')) f),
    250::bigint, '250 events die together');
SELECT results_eq($$SELECT "offset", event_id, type, aggregate_id, payload, headers FROM eventbus.dead_letter WHERE subscription = 'many' ORDER BY 1$$,
    $$SELECT "offset", event_id, type, aggregate_id, payload, headers FROM eventbus.event WHERE type LIKE 'many.%' ORDER BY 1$$, 'each with all of its event');
SELECT is(eb_dlq_purge(subscription => 'many'), 250::bigint, 'and are purged');

SELECT * FROM finish();
