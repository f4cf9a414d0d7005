-- Dead letters that go back by themselves, and leases that run out where nobody fetches.
SELECT plan(20);

-- the fields that make a letter come back
SELECT eb_subscribe('auto', topics => '{auto.>}', max_attempts => 1, dlq_replay_after => '0', dlq_replay_max => 2);
SELECT eb_subscribe('later', topics => '{auto.>}', max_attempts => 1, dlq_replay_after => '1 hour');
SELECT eb_subscribe('never', topics => '{auto.>}', max_attempts => 1);
SELECT eb_emit('auto.a', '1');
SELECT eb_relay_run();
SELECT eb_nack(receipt, error => 'no') FROM eb_fetch('later');
SELECT eb_nack(receipt, error => 'no') FROM eb_fetch('never');
SELECT ok((SELECT replay_at BETWEEN dead_at + '1 hour' AND dead_at + interval '90 min' FROM eventbus.dead_letter
    WHERE subscription = 'later'), 'replay_at is dlq_replay_after and up to half of it later');
SELECT is((SELECT replay_at FROM eventbus.dead_letter WHERE subscription = 'never'), NULL, 'without it, a letter stays');
SELECT eb_relay_run();
SELECT is((SELECT count(*) FROM eventbus.dead_letter), 2::bigint, 'what is not due is not replayed');

-- back at most dlq_replay_max times
CREATE TEMP TABLE tries (n int, replayed boolean, attempt int, dead int);
DO $$
DECLARE
    f record;
BEGIN
    FOR i IN 1..5 LOOP
        PERFORM eb_relay_run();
        SELECT * INTO f FROM eb_fetch('auto');
        CONTINUE WHEN NOT FOUND;
        PERFORM eb_nack(f.receipt, error => 'try ' || i);
        INSERT INTO tries SELECT i, f.replayed, f.attempt, count(*) FROM eventbus.dead_letter WHERE subscription = 'auto';
    END LOOP;
END
$$;
SELECT results_eq('SELECT replayed, attempt, dead FROM tries ORDER BY n',
    $$VALUES (false, 1, 1), (true, 1, 1), (true, 1, 1)$$, 'twice back, with a fresh attempt each time');
SELECT results_eq($$SELECT replays, replay_at IS NULL, jsonb_array_length(history) FROM eventbus.dead_letter WHERE subscription = 'auto'$$,
    'VALUES (2, true, 3)', 'then it stays, with its whole history');

-- terminal reasons do not come back
SELECT eb_emit('auto.b', '2');
SELECT eb_relay_run();
SELECT eb_nack(receipt, reason => 'ValidationFailed') FROM eb_fetch('auto');
SELECT is((SELECT replay_at FROM eventbus.dead_letter WHERE subscription = 'auto' AND reason = 'ValidationFailed'), NULL,
    'a terminal failure is not replayed by itself');

-- spread
SELECT eb_subscribe('spread', topics => '{spread.>}', max_attempts => 1, dlq_replay_after => '10 min');
SELECT count(eb_emit('spread.x', '{}')) FROM generate_series(1, 1000);
SELECT eb_relay_run();
SELECT eb_nack(receipt) FROM (SELECT DISTINCT receipt FROM eb_fetch('spread', 1000)) f;
SELECT cmp_ok((SELECT max(replay_at) - min(replay_at) FROM eventbus.dead_letter WHERE subscription = 'spread'), '>',
    interval '4 min', 'a thousand letters do not come back as one wave');
SELECT cmp_ok((SELECT count(DISTINCT date_trunc('second', replay_at)) FROM eventbus.dead_letter WHERE subscription = 'spread'), '>',
    100::bigint, 'but evenly');

-- a look is bounded, and what cannot be replayed does not stand in the way
SELECT eb_subscribe('gone', topics => '{gone.>}', max_attempts => 1, dlq_replay_after => '0');
SELECT count(eb_emit('gone.x', '{}')) FROM generate_series(1, 150);
SELECT eb_relay_run();
BEGIN;
SELECT eb_nack(receipt) FROM (SELECT DISTINCT receipt FROM eb_fetch('gone', 1000)) f;
SELECT eb_unsubscribe('gone');
UPDATE eventbus.dead_letter SET replay_at = clock_timestamp() WHERE subscription = 'spread';
COMMIT;
-- the relay may be at work on the last of them, too: until that is committed
DO $$ BEGIN
    WHILE EXISTS (SELECT FROM eventbus.dead_letter WHERE subscription = 'spread' OR subscription = 'gone' AND replay_at IS NOT NULL) LOOP
        PERFORM eb_relay_run();
        COMMIT;
    END LOOP;
END $$;
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 'gone' AND replay_at IS NULL), 150::bigint,
    'letters of a subscription that is gone stay, without a date');
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 'spread'), 0::bigint, 'the others went back');
SELECT is((SELECT count(*) FROM eb_fetch('spread', 2000) WHERE replayed), 1000::bigint, 'each once');

-- switched off: what has a date loses it
SELECT eb_subscribe('off', topics => '{off.>}', max_attempts => 1, dlq_replay_after => '1 hour');
SELECT eb_emit('off.x', '{}');
SELECT eb_relay_run();
SELECT eb_nack(receipt) FROM eb_fetch('off');
SELECT eb_subscribe('off', topics => '{off.>}', max_attempts => 1);
UPDATE eventbus.dead_letter SET replay_at = clock_timestamp() WHERE subscription = 'off';
SELECT eb_relay_run();
SELECT is((SELECT replay_at FROM eventbus.dead_letter WHERE subscription = 'off'), NULL, 'automatic replay can be switched off');
SELECT is(eb_dlq_replay(subscription => 'off'), 1::bigint, 'by hand it still works');

-- a lease runs out and nobody fetches: the last attempt's makes a dead letter
SELECT eb_subscribe('dies', topics => '{dies.>}', max_attempts => 1);
SELECT eb_subscribe('lives', topics => '{dies.>}', max_attempts => 2);
SELECT eb_subscribe('lane', topics => '{dies.>}', max_attempts => 1, ordering => 'aggregate');
SELECT count(eb_emit('dies.x', '{}', aggregate_id => 'a')) FROM generate_series(1, 3);
SELECT eb_relay_run();
SELECT count(*) FROM eb_fetch('dies', lease => '1 ms');
SELECT count(*) FROM eb_fetch('lives', lease => '1 ms');
SELECT count(*) FROM eb_fetch('lane', lease => '1 ms');
DO $$
DECLARE
    until timestamptz = clock_timestamp() + interval '5 ms';
BEGIN
    WHILE clock_timestamp() < until LOOP
    END LOOP;
END
$$;
SELECT eb_relay_run();
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 'dies'), 3::bigint, 'an expired last attempt is dead without a fetch');
SELECT results_eq($$SELECT DISTINCT reason::text, history->0->>'reason', attempts FROM eventbus.dead_letter WHERE subscription = 'dies'$$,
    $$VALUES ('MaxRetries', 'HandlerTimeout', 1)$$, 'with the timeout in its history');
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 'lane'), 3::bigint, 'in an ordered lane as well');
SELECT is((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 'lives'), 0::bigint, 'one with attempts left is not');
SELECT is((SELECT count(*) FROM eb_fetch('lives') WHERE attempt = 2), 3::bigint, 'and is delivered again');
SELECT count(*) FROM eb_fetch('dies', lease => '1 hour');
SELECT is((SELECT count(*) FROM eb_fetch('dies')), 0::bigint, 'nothing is left of the dead');
SELECT eb_emit('dies.x', '{}', aggregate_id => 'a');
SELECT eb_relay_run();
SELECT is((SELECT count(*) FROM eb_fetch('lane')), 1::bigint, 'a dead letter does not block its aggregate');

SELECT * FROM finish();
