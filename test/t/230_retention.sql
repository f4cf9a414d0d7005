-- Run by 230_retention.pl.  Retention: what may go, what keeps a segment, the compact segment, cutting off, archiving.
SELECT no_plan();
CREATE FUNCTION segments() RETURNS text LANGUAGE sql AS
$$SELECT string_agg(replace(inhrelid::regclass::text, 'eventbus.', ''), ' ' ORDER BY substring(inhrelid::regclass::text, '\d+')::bigint)
  FROM pg_inherits WHERE inhparent = 'eventbus.event'::regclass$$;
-- Time passes: what the relay has passed, it has passed a day earlier.
CREATE FUNCTION a_day_passes() RETURNS void LANGUAGE sql AS $$UPDATE eventbus.progress SET at = at - interval '1 day'$$;
CREATE PROCEDURE run(n int) LANGUAGE plpgsql AS $$BEGIN FOR i IN 1..n LOOP PERFORM eb_relay_run(); COMMIT; END LOOP; END$$;

SELECT eb_subscribe('r_fast');
SELECT eb_subscribe('r_slow', '{order.slow}');
SELECT count(*) FROM (SELECT eb_emit('order.placed', '{}') FROM generate_series(1, 350)) x \g /dev/null
CALL run(3);
SELECT is(segments(), 'event_1 event_101 event_201 event_301 event_401', 'segments, one of them ahead');
CALL run(3);
SELECT is(segments(), 'event_1 event_101 event_201 event_301 event_401', 'nothing goes before its time');
SELECT a_day_passes();
CALL run(3);
SELECT is(segments(), 'event_1 event_101 event_201 event_301 event_401', 'nor while a subscription needs it');
SELECT is((SELECT status FROM eb_health() WHERE component = 'retention'), 'warn', 'which eb_health says');
SELECT matches((SELECT hint FROM eb_health() WHERE component = 'retention'), 'eb_unsubscribe\(''r_fast''\)', 'with whom and what to do');

-- 1 to 150 are settled, one of them later dead, one delayed.
SELECT eb_emit('order.slow', '{"later": true}', deliver_at => clock_timestamp() + interval '1 h') AS delayed \gset
CALL run(1);
SELECT eb_nack(receipt, ARRAY[event_id], 'broken', 'ValidationFailed') FROM eb_fetch('r_fast', 50) WHERE "offset" = 7;
UPDATE eventbus.delivery SET lease_until = clock_timestamp() - interval '1 s';
DO $$ DECLARE r bigint; n int; BEGIN
    LOOP
        n := 0;
        FOR r IN SELECT DISTINCT receipt FROM eb_fetch('r_fast', 1000) LOOP PERFORM eb_ack(r); n := n + 1; END LOOP;
        EXIT WHEN n = 0;
    END LOOP; END $$;
SELECT is((SELECT sum(events) FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id WHERE s.name = 'r_fast'), 1::bigint,
    'all is settled but what is delayed');
SELECT a_day_passes();
CALL run(8);
SELECT is(segments(), 'event_1_kept event_301 event_401', 'settled segments go; of the first stays what a dead letter needs')
WHERE segments() IS NOT NULL;
SELECT is((SELECT count(*) FROM eventbus.event WHERE "offset" <= 100), 1::bigint, 'one event');
SELECT is(eb_dlq_replay(subscription => 'r_fast'), 1::bigint, 'the dead letter is replayed');
SELECT results_eq($$SELECT "offset" FROM eb_fetch('r_fast')$$, ARRAY[7::bigint], 'with its event');
SELECT isnt((SELECT min(position) FROM eventbus.progress), NULL, 'progress goes on');
SELECT eb_ack((seq << 16) | (token & 65535)) FROM eventbus.delivery WHERE first_offset = 7 \g /dev/null
CALL run(4);
SELECT is(segments(), 'event_301 event_401', 'when nothing is needed any more, the compact segment goes, too');
SELECT ok((SELECT min(position) >= 300 FROM eventbus.progress), 'and so do the rows of progress');
SELECT is(eb_last_offset(), 351::bigint, 'offsets go on');
SELECT is((SELECT count(*) FROM eb_read(1)), (SELECT count(*) FROM eventbus.event), 'a reader begins where the log begins');

-- The delayed event outlives its segment.
SELECT count(*) FROM (SELECT eb_emit('order.placed', '{}') FROM generate_series(1, 300)) x \g /dev/null
CALL run(3);
DO $$ DECLARE r bigint; n int; BEGIN
    LOOP
        n := 0;
        FOR r IN SELECT DISTINCT receipt FROM eb_fetch('r_fast', 1000) LOOP PERFORM eb_ack(r); n := n + 1; END LOOP;
        EXIT WHEN n = 0;
    END LOOP; END $$;
SELECT a_day_passes();
CALL run(5);
SELECT matches(segments(), '^event_301_kept ', 'a segment with a delayed event becomes compact');
UPDATE eventbus.delivery SET position = 1, due_at = clock_timestamp();
SELECT eb_seek('r_slow', 1) \g /dev/null
SELECT is((SELECT count(*) FROM eventbus.event e WHERE e.event_id = :'delayed'), 1::bigint, 'and the event is there');

-- Size: settled segments go before their time, others do not.
SELECT eb_unsubscribe('r_slow'), eb_unsubscribe('r_fast') \g /dev/null
CALL run(5);
SELECT eb_subscribe('r_keep'), eb_subscribe('r_skip'), eb_subscribe('r_dead') \g /dev/null
SELECT eb_lag_policy('r_skip', 'skip'), eb_lag_policy('r_dead', 'dead_letter') \g /dev/null
SELECT throws_ok($$SELECT eb_lag_policy('r_skip', 'drop')$$, '22023', NULL, 'an unknown policy');
SELECT throws_ok($$SELECT eb_lag_policy('r_none', 'skip')$$, '42704', NULL, 'an unknown subscription');
SELECT count(*) FROM (SELECT eb_emit('order.old', '{}') FROM generate_series(1, 250)) x \g /dev/null
CALL run(3);
SELECT a_day_passes();
SELECT a_day_passes();
SELECT is((SELECT status FROM eb_health() WHERE component = 'retention'), 'fail', 'past the cap eb_health fails');
CALL run(12);
SELECT cmp_ok((SELECT skipped FROM eventbus.subscription WHERE name = 'r_skip'), '>=', 100::bigint, 'one is cut off: skipped and counted');
SELECT cmp_ok((SELECT count(*) FROM eventbus.dead_letter WHERE subscription = 'r_dead'), '>=', 100::bigint, 'another: dead letters');
SELECT is((SELECT sum(events) FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id WHERE s.name = 'r_keep'), 250::bigint,
    'and who may keep keeps all');
SELECT eb_unsubscribe('r_keep'), eb_dlq_purge(subscription => 'r_dead') \g /dev/null
SELECT a_day_passes();
CALL run(12);
SELECT cmp_ok((SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('eventbus_archive') AND relkind = 'r'), '>=', 1::bigint, 'segments are archived');
SELECT is_empty($$SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = to_regnamespace('eventbus_archive') AND a.grantee <> c.relowner$$,
    'for their owner only');

SELECT * FROM finish();
