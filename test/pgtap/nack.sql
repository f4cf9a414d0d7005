-- eb_nack: retries with back-off, dead letters after the last attempt or a terminal reason, and undisturbed neighbours.
\ir common.psql
SELECT plan(65);

-- A retry.
SELECT eb_subscribe('r', '{retry.*}', backoff => '10 ms', max_attempts => 3) \g /dev/null
SELECT eb_emit('retry.a', '1') \g /dev/null
SELECT receipt AS r FROM eb_fetch('r', wait => '10 s') \gset
SELECT is(eb_nack(:r, error => 'first', retry_after => '1 hour'), 1, 'one event nacked');
SELECT is_empty($$SELECT * FROM eb_fetch('r')$$, 'it is not available before its time');
SELECT pg_temp.refused(format('SELECT eb_%s(%s)', f, :r), '55000', 'receipt % is stale', 'a nacked receipt is stale for eb_' || f)
    FROM unnest(ARRAY['ack', 'nack', 'extend']) f;
SELECT ok(due_at BETWEEN clock_timestamp() + interval '59 min' AND clock_timestamp() + interval '1 hour', 'retry_after counts from now')
    FROM eventbus.delivery;
SELECT eb_seek('r', "offset") FROM eb_read(0, topics => '{retry.*}') \g /dev/null
SELECT receipt AS r FROM eb_fetch('r', wait => '10 s') \gset
SELECT is(eb_nack(:r, error => 'first', retry_after => '0'), 1, 'at once');
SELECT receipt AS r2, attempt, event_id AS id FROM eb_fetch('r') \gset
SELECT is(:attempt, 2, 'again, a second attempt');
SELECT isnt(:r, :r2, 'under a new receipt');
SELECT eb_nack(:r2, error => 'second', reason => 'HandlerTimeout') \g /dev/null
SELECT receipt AS r, attempt FROM eb_fetch('r', wait => '10 s') \gset
SELECT is(:attempt, 3, 'a third attempt, after the back-off');
SELECT is(eb_nack(:r, error => 'third'), 1, 'the last');
SELECT is((SELECT queued + leased FROM pg_temp.queue('r')), 0::bigint, 'the queue has it no more');
SELECT results_eq($$SELECT source, subscription, event_id, type, payload, reason, error, attempts, replays, replay_at FROM eventbus.dead_letter$$,
    format($$VALUES ('eventbus', 'r', %L::uuid, 'retry.a', '1'::jsonb, 'MaxRetries'::eb_reason, 'third', 3, 0, NULL::timestamptz)$$, :'id'),
    'it is a dead letter, with the last error');
SELECT results_eq($$SELECT h->'attempt', h->>'reason', h->>'error' FROM eventbus.dead_letter, jsonb_array_elements(history) h$$,
    $$VALUES ('1'::jsonb, 'DeliveryFailed', 'first'), ('2', 'HandlerTimeout', 'second'), ('3', 'DeliveryFailed', 'third')$$,
    'and the history of every attempt');
SELECT ok(bool_and(h->>'consumer' LIKE '%/' || pg_backend_pid() AND (h->>'at')::timestamptz BETWEEN now() - interval '1 min' AND clock_timestamp()),
    'with time and consumer') FROM eventbus.dead_letter, jsonb_array_elements(history) h;
SELECT ok(first_failed_at = (history->0->>'at')::timestamptz AND dead_at >= first_failed_at, 'the times agree') FROM eventbus.dead_letter;
SELECT eb_dlq_purge(subscription => 'r') \g /dev/null

-- Back-off: doubled, capped, up to a fifth more.
SELECT eb_subscribe('b', '{back.*}', backoff => '1 min', backoff_max => '3 min', max_attempts => 100) \g /dev/null
SELECT eb_emit('back.a', to_jsonb(i)) FROM generate_series(1, 20) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE delays (d interval);
CREATE PROCEDURE pg_temp.nack_all(name text) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    t timestamptz;
BEGIN
    CREATE TEMP TABLE fetched AS SELECT * FROM eb_fetch(name);
    FOR r IN SELECT * FROM fetched LOOP
        t := clock_timestamp();
        PERFORM eb_nack(r.receipt, ARRAY[r.event_id]);
        INSERT INTO delays SELECT max(due_at) - t FROM eventbus.delivery WHERE first_offset = r."offset" AND due_at IS NOT NULL;
        COMMIT;
    END LOOP;
END $$;
CALL pg_temp.nack_all('b');
SELECT eb_subscribe('b2', '{back.*}', from_offset => 1, backoff => '1 min', backoff_max => '3 min', max_attempts => 100) \g /dev/null
SELECT is(count(*), 20::bigint, 'each event is retried on its own') FROM delays;
SELECT ok(min(d) BETWEEN interval '59 s' AND interval '72 s' AND max(d) <= interval '72 s', 'the first delay is the back-off, up to a fifth more') FROM delays;
SELECT ok(max(d) - min(d) > interval '1 s', 'with jitter') FROM delays;
SELECT eb_unsubscribe('b'), eb_unsubscribe('b2') \g /dev/null
CREATE FUNCTION pg_temp.delay(attempts int, base interval, cap interval) RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
    r bigint;
BEGIN
    PERFORM eb_subscribe('d', '{delay.*}', backoff => base, backoff_max => cap, max_attempts => 100);
    SELECT receipt INTO r FROM eb_fetch('d', wait => '10 s');
    FOR i IN 2 .. attempts LOOP
        PERFORM eb_nack(r, retry_after => '0');
        SELECT receipt INTO r FROM eb_fetch('d', wait => '10 s');
    END LOOP;
    PERFORM eb_nack(r);
    RETURN (SELECT due_at - clock_timestamp() FROM eventbus.delivery JOIN eventbus.subscription s ON s.id = subscription_id WHERE s.name = 'd');
END $$;
SELECT eb_subscribe('d', '{delay.*}') \g /dev/null
SELECT eb_emit('delay.a', '1') \g /dev/null
SELECT ok(d BETWEEN interval '119 s' AND interval '144 s', 'the second is twice that') FROM pg_temp.delay(2, '1 min', '1 hour') d;
SELECT eb_seek('d', eb_last_offset()) \g /dev/null
SELECT ok(d BETWEEN interval '959 s' AND interval '1152 s', 'the fifth sixteen times') FROM pg_temp.delay(5, '1 min', '1 hour') d;
SELECT eb_seek('d', eb_last_offset()) \g /dev/null
SELECT ok(d BETWEEN interval '179 s' AND interval '216 s', 'but no more than backoff_max') FROM pg_temp.delay(5, '1 min', '3 min') d;
SELECT eb_seek('d', eb_last_offset()) \g /dev/null
SELECT ok(d <= interval '0', 'no back-off at all') FROM pg_temp.delay(3, '0', '0') d;
SELECT eb_seek('d', eb_last_offset()) \g /dev/null
SELECT ok(d BETWEEN interval '99 years' AND interval '122 years', 'nor too much of it') FROM pg_temp.delay(70, '1 s', '100 years') d;
SELECT eb_unsubscribe('d') \g /dev/null

-- Terminal reasons.
SELECT eb_subscribe('t', '{term.*}') \g /dev/null
SELECT eb_emit('term.' || lower(reason::text), '0') FROM eb_reasons WHERE terminal \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT results_eq('SELECT reason::text FROM eb_reasons WHERE retryable ORDER BY 1', $$VALUES ('DeliveryFailed'), ('HandlerTimeout')$$, 'two reasons are retryable');
SELECT is(sum(eb_nack(f.receipt, ARRAY[f.event_id], 'no', r.reason)), 6::bigint, 'each of the others')
    FROM (SELECT * FROM eb_fetch('t')) f JOIN eb_reasons r ON f.type = 'term.' || lower(r.reason::text);
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE 'term.' || lower(reason::text) = type AND attempts = 1), 6::bigint, 'is a dead letter at once, with its reason');
SELECT is((SELECT queued + leased FROM pg_temp.queue('t')), 0::bigint, 'and not in the queue');
SELECT eb_dlq_purge(subscription => 't') \g /dev/null

-- Neighbours.
SELECT eb_subscribe('n', '{near.*}', max_attempts => 2) \g /dev/null
SELECT eb_emit('near.a', to_jsonb(i)) FROM generate_series(1, 6) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE n AS SELECT * FROM eb_fetch('n', lease => '1 min');
SELECT receipt AS r FROM n LIMIT 1 \gset
SELECT is(eb_nack(:r, ARRAY(SELECT event_id FROM n WHERE payload IN ('2', '5')), 'bad', retry_after => '0'), 2, 'two of six fail');
SELECT is((SELECT leased FROM pg_temp.queue('n')), 4::bigint, 'their neighbours stay leased');
CREATE TEMP TABLE n2 AS SELECT * FROM eb_fetch('n');
SELECT results_eq('SELECT payload::int, attempt FROM n2', 'VALUES (2, 2), (5, 2)', 'the two are delivered again');
SELECT is((SELECT count(DISTINCT receipt) FROM n2), 2::bigint, 'one by one');
SELECT is(eb_nack(:r, ARRAY(SELECT event_id FROM n WHERE payload = '1'), 'worse', 'ValidationFailed'), 1, 'a third fails for good');
SELECT pg_temp.refused(format('SELECT eb_nack(%s, %L)', :r, ARRAY(SELECT event_id FROM n WHERE payload IN ('1', '3'))), '55000', 'event %', 'what is settled cannot fail');
SELECT pg_temp.refused(format('SELECT eb_nack(%s, %L)', :r, '{NULL}'), '22023', '%null%', 'nor can NULL');
SELECT is(eb_nack(:r, '{}'), 0, 'and nothing is nothing');
SELECT is(eb_ack(:r), 3, 'the others are acked');
SELECT is((SELECT sum(eb_nack(receipt, error => 'dead')) FROM n2), 2::bigint, 'the two fail once more');
SELECT results_eq('SELECT payload::int, reason::text FROM eventbus.dead_letter ORDER BY payload::int',
    $$VALUES (1, 'ValidationFailed'), (2, 'MaxRetries'), (5, 'MaxRetries')$$, 'three dead letters');
SELECT is((SELECT queued + leased FROM pg_temp.queue('n')), 0::bigint, 'and nothing else');
SELECT eb_dlq_purge(subscription => 'n') \g /dev/null

-- What one transaction sends back comes back together, and every event keeps its own past.
CREATE PROCEDURE pg_temp.make_due() LANGUAGE plpgsql AS $$
BEGIN
    UPDATE eventbus.delivery SET due_at = now(), position = EXTRACT(epoch FROM now() - '2000-01-01'::timestamptz) * 1000000
    WHERE due_at IS NOT NULL AND lease_until IS NULL;
    BEGIN
        PERFORM eb_unsubscribe('t');    -- rolled back, it makes consumers look at everything anew
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
END $$;
CREATE FUNCTION pg_temp.id(value text) RETURNS uuid LANGUAGE sql AS $$
    SELECT event_id FROM eventbus.event WHERE type = 'together.a' AND payload = value::jsonb
$$;
CREATE FUNCTION pg_temp.pasts() RETURNS TABLE (payload int, past text) LANGUAGE sql AS $$
    SELECT payload::text::int, (SELECT string_agg(h->>'error', ' ' ORDER BY h->'attempt') FROM jsonb_array_elements(history) h)
    FROM eventbus.dead_letter
$$;
SELECT eb_subscribe('t', '{together.*}', backoff => '10 days', backoff_max => '1 year', max_attempts => 4) \g /dev/null
SELECT eb_emit('together.a', to_jsonb(i)) FROM generate_series(1, 3) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT receipt AS r1, first_delivered_at AS f1 FROM eb_fetch('t') LIMIT 1 \gset
SELECT eb_emit('together.a', to_jsonb(i)) FROM generate_series(4, 8) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT receipt AS r2, first_delivered_at AS f2 FROM eb_fetch('t') LIMIT 1 \gset
BEGIN;
SELECT eb_nack(:r2, ARRAY[pg_temp.id('7')], 'seven') \g /dev/null
SELECT eb_nack(:r1, ARRAY[pg_temp.id('1'), pg_temp.id('3')], 'odd') \g /dev/null
SAVEPOINT s;
SELECT eb_nack(:r2, ARRAY[pg_temp.id('5')], 'not so') \g /dev/null
ROLLBACK TO s;
SELECT eb_nack(:r2, ARRAY[pg_temp.id('5')], 'five') \g /dev/null
SELECT eb_nack(:r2, ARRAY[pg_temp.id('6')], 'six') \g /dev/null
SELECT eb_ack(:r1), eb_ack(:r2) \g /dev/null
COMMIT;
SELECT results_eq('SELECT events FROM eventbus.delivery ORDER BY first_offset', 'VALUES (3), (2)',
    'two rows: a savepoint that is rolled back begins another');
CALL pg_temp.make_due();
CREATE TEMP TABLE t1 AS SELECT * FROM eb_fetch('t');
SELECT results_eq('SELECT payload::int, attempt, first_delivered_at FROM t1 ORDER BY "offset"',
    format('VALUES (1, 2, %1$L::timestamptz), (3, 2, %1$L), (5, 2, %2$L), (6, 2, %2$L), (7, 2, %2$L)', :'f1', :'f2'),
    'each event says when it was delivered first');
SELECT is((SELECT count(DISTINCT receipt) FROM t1), 2::bigint, 'two receipts');
BEGIN;
SELECT eb_nack(receipt, error => 'again') FROM (SELECT DISTINCT receipt FROM t1) r \g /dev/null
COMMIT;
SELECT results_eq('SELECT DISTINCT attempt FROM eventbus.delivery', 'VALUES (2)', 'all fail again');
CALL pg_temp.make_due();
SELECT is((SELECT count(*) FROM eb_fetch('t', 1, lease => '1 us')), 1::bigint, 'a fetch of one event leaves the others');
SELECT is((SELECT count(*) FROM eb_fetch('t', lease => '1 us')), 5::bigint, 'they come, and the first after its lease once more');
SELECT is((SELECT count(*) FROM eb_fetch('t', lease => '1 us', wait => '10 s')), 4::bigint, 'singly, now that their lease ran out, too');
DO $$ BEGIN WHILE (SELECT count(*) FROM eventbus.dead_letter) < 5 LOOP COMMIT; END LOOP; END $$;
SELECT results_eq('SELECT * FROM pg_temp.pasts() ORDER BY 1', $$VALUES (1, 'odd again the lease ran out the lease ran out'),
    (3, 'odd again the lease ran out the lease ran out'), (5, 'five again the lease ran out the lease ran out'),
    (6, 'six again the lease ran out the lease ran out'), (7, 'seven again the lease ran out the lease ran out')$$,
    'and every event has the history of its own attempts');
SELECT eb_dlq_purge(subscription => 't') \g /dev/null
SELECT eb_subscribe('t', '{together.*}', backoff => '10 days', backoff_max => '1 year', max_attempts => 2) \g /dev/null
SELECT eb_emit('together.b', to_jsonb(i)) FROM generate_series(1, 9) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE t2 AS SELECT * FROM eb_fetch('t');
SELECT sum(eb_nack(receipt, ARRAY[event_id], repeat('x', 500) || payload)) FROM t2 \g /dev/null
SELECT is((SELECT sum(events) FROM eventbus.delivery), 9::bigint, 'none is lost');
SELECT ok(max(pg_column_size(d.*)) < 2000, 'rows stay small') FROM eventbus.delivery d;
CALL pg_temp.make_due();
SELECT is((SELECT sum(eb_nack(receipt, error => 'dead')) FROM (SELECT DISTINCT receipt FROM eb_fetch('t')) r), 9::bigint, 'all fail for good');
SELECT results_eq('SELECT payload, past FROM pg_temp.pasts() ORDER BY 1', $$SELECT i, repeat('x', 500) || i || ' dead' FROM generate_series(1, 9) i$$,
    'each with its own history');
SELECT eb_dlq_purge(subscription => 't'), eb_unsubscribe('t') \g /dev/null

-- Leases that run out.
SELECT eb_subscribe('x', '{expire.*}', lease => '1 us', max_attempts => 3) \g /dev/null
SELECT eb_emit('expire.a', to_jsonb(i)) FROM generate_series(1, 2) i \g /dev/null
SELECT is((SELECT count(*) FROM eb_fetch('x', wait => '10 s')), 2::bigint, 'a batch that nobody acks');
SELECT is((SELECT count(*) FROM eb_fetch('x', lease => '1 us', wait => '10 s') WHERE attempt = 2), 2::bigint, 'again');
SELECT is((SELECT count(*) FROM eb_fetch('x', lease => '1 us', wait => '10 s') WHERE attempt = 3), 2::bigint, 'and again');
SELECT is_empty($$SELECT * FROM eb_fetch('x')$$, 'and no more');
DO $$ BEGIN WHILE (SELECT count(*) FROM eventbus.dead_letter) < 2 LOOP COMMIT; END LOOP; END $$;
SELECT results_eq($$SELECT payload::int, reason::text, error, attempts FROM eventbus.dead_letter ORDER BY 1$$,
    $$VALUES (1, 'MaxRetries', 'the lease ran out', 3), (2, 'MaxRetries', 'the lease ran out', 3)$$, 'they are dead');
SELECT results_eq($$SELECT (h->'attempt')::int, h->>'reason' FROM eventbus.dead_letter, jsonb_array_elements(history) h WHERE payload = '1'$$,
    $$VALUES (1, 'HandlerTimeout'), (2, 'HandlerTimeout'), (3, 'HandlerTimeout')$$, 'a lease that runs out is a failed attempt');
SELECT eb_dlq_purge(subscription => 'x') \g /dev/null

-- The only attempt; a failed transaction; a change of the settings.
SELECT eb_subscribe('o', '{once.*}', max_attempts => 1) \g /dev/null
SELECT eb_emit('once.a', '1') \g /dev/null
SELECT eb_nack(receipt) FROM eb_fetch('o', wait => '10 s') \g /dev/null
SELECT is((SELECT attempts FROM eventbus.dead_letter WHERE subscription = 'o'), 1, 'max_attempts 1 means no retry');
SELECT eb_emit('once.a', '2') \g /dev/null
SELECT receipt AS r FROM eb_fetch('o', wait => '10 s') \gset
BEGIN;
SELECT eb_nack(:r) \g /dev/null
ROLLBACK;
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 'o'), 1::bigint, 'a nack that is rolled back buries nothing');
SELECT eb_subscribe('o', '{once.*}', max_attempts => 2) \g /dev/null
SELECT is(eb_nack(:r, retry_after => '0'), 1, 'more attempts were allowed meanwhile');
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('o', wait => '10 s')$$, 'VALUES (2, 2)', 'and there is another');
SELECT eb_emit('once.a', '3') \g /dev/null
SELECT receipt AS r FROM eb_fetch('o', lease => '1 us', wait => '10 s') \gset
SELECT is(eb_nack(:r, retry_after => '0'), 1, 'a nack after expiry that nobody has taken over counts');
SELECT results_eq($$SELECT payload::int, attempt FROM eb_fetch('o', wait => '10 s')$$, 'VALUES (3, 2)', 'as one attempt');
SELECT is((SELECT jsonb_array_length(history) FROM eventbus.delivery WHERE first_offset = eb_last_offset()), 1, 'and one entry of the history');
SELECT * FROM finish();
