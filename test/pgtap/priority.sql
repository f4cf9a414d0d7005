-- Priority 9 comes first, without starving 0; deliver_at delays delivery, not the log.
\ir common.psql
SELECT plan(21);
CREATE FUNCTION pg_temp.take(name text, n int = 100) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    r int[];
BEGIN
    WITH f AS MATERIALIZED (SELECT * FROM eb_fetch(name, n)) SELECT array_agg(payload::int) INTO r FROM f;
    RETURN r;
END $$;
SELECT eb_subscribe('p') \g /dev/null
SELECT eb_emit('prio.a', to_jsonb(i), priority => i % 10) FROM generate_series(0, 19) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is(pg_temp.take('p', 5), '{9,19,8,18,7}', 'by priority, then by offset');
SELECT eb_emit('prio.b', '99', priority => 9) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is(pg_temp.take('p', 2), '{99,17}', 'one that comes later goes first');
SELECT is(pg_temp.take('p'), '{6,16,5,15,4,14,3,13,2,12,1,11,0,10}', 'the rest');

-- No starvation: a queue that is never without a 9 still serves a 0.
SELECT eb_subscribe('s', '{starve.*}') \g /dev/null
SELECT eb_emit('starve.a', '0', priority => 0) \g /dev/null
SELECT eb_emit('starve.a', to_jsonb(i), priority => 9) FROM generate_series(1, 200) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
CREATE TEMP TABLE served (n serial, i int);
DO $$ BEGIN
    FOR n IN 1 .. 100 LOOP
        INSERT INTO served (i) SELECT payload::int FROM eb_fetch('s', 1);
    END LOOP;
END $$;
SELECT ok(EXISTS (SELECT FROM served WHERE i = 0), 'the oldest is served although there is always one of a higher priority');
SELECT ok(count(*) >= 90, 'and is the exception') FROM (SELECT i, row_number() OVER (ORDER BY n) AS r FROM served WHERE i > 0) s WHERE s.i = s.r;

-- A retry keeps its turn.
SELECT eb_subscribe('r', '{again.*}') \g /dev/null
SELECT eb_emit('again.a', '1', priority => 9) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_nack(receipt, retry_after => '0') FROM eb_fetch('r') \g /dev/null
SELECT eb_emit('again.a', '2', priority => 5), eb_emit('again.a', '3', priority => 9) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is(pg_temp.take('r', 1), '{1}', 'a retry that is due comes before what is new');
SELECT is(pg_temp.take('r'), '{3,2}', 'then by priority again');

-- deliver_at.
SELECT eb_subscribe('d', '{later.*}') \g /dev/null
SELECT eb_emit('later.a', '1', deliver_at => clock_timestamp() + interval '1 hour') AS id \gset
SELECT eb_emit('later.a', '2', deliver_at => clock_timestamp() - interval '1 hour') \g /dev/null
SELECT eb_emit('later.a', '3') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT ok((eb_get(:'id'))."offset" = eb_last_offset() - 2, 'a delayed event is in the log at once');
SELECT is(pg_temp.take('d'), '{2,3}', 'but is not delivered; a time in the past is no delay');
SELECT eb_emit('later.a', '4', deliver_at => clock_timestamp() + interval '60 ms') \g /dev/null
SELECT eb_emit('later.a', '5', deliver_at => clock_timestamp() + interval '20 ms') \g /dev/null
SELECT is((SELECT array_agg(payload::int) FROM eb_fetch('d', wait => '10 s')), '{5}', 'a wait ends when one comes due');
SELECT is((SELECT array_agg(payload::int) FROM eb_fetch('d', wait => '10 s')), '{4}', 'in the order of their times');
SELECT ok(bool_and(first_delivered_at BETWEEN e.deliver_at AND e.deliver_at + interval '1 s'), 'to the second, and never too early')
    FROM eventbus.delivery d JOIN eventbus.event e ON e."offset" = d.first_offset WHERE e.payload IN ('4', '5') AND e.type = 'later.a';
SELECT is(pg_temp.take('d'), NULL, 'the first one waits for its hour');

-- A delayed event that is rolled back, fails, or is seen by a late subscription.
BEGIN;
SELECT eb_emit('later.b', '6', deliver_at => clock_timestamp() + interval '1 ms') \g /dev/null
ROLLBACK;
SELECT eb_subscribe('late', '{later.*}', from_offset => 1) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT array_agg(payload::int ORDER BY payload) FROM (SELECT * FROM eb_fetch('late', wait => '10 s')) f), '{2,3,4,5}',
    'a back-filled subscription gets what is due by now');
SELECT is((SELECT count(*) FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id WHERE s.name = 'late' AND d.due_at > now()),
    1::bigint, 'and the other later');

-- A crowd due later costs what is due now nothing.
SELECT eb_emit('later.c', to_jsonb(i), deliver_at => clock_timestamp() + interval '1 day' + i * interval '1 ms') FROM generate_series(1, 20000) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_emit('later.d', '7') \g /dev/null
SELECT is((SELECT array_agg(payload::int) FROM eb_fetch('d', wait => '10 s')), '{7}', 'twenty thousand due tomorrow, one now');
SELECT clock_timestamp() AS t \gset
DO $$ BEGIN FOR i IN 1 .. 200 LOOP PERFORM FROM eb_fetch('d'); END LOOP; END $$;
SELECT ok(clock_timestamp() - :'t' < interval '200 ms', format('two hundred looks at it took %s', clock_timestamp() - :'t'));

-- In an ordered subscription a delay takes an event out of the order; the others do not wait for it.
SELECT eb_subscribe('o', '{keep.*}', ordering => 'aggregate') \g /dev/null
SELECT eb_emit('keep.a', '1', 'x', deliver_at => clock_timestamp() + interval '1 hour'), eb_emit('keep.a', '2', 'x') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is(pg_temp.take('o'), '{2}', 'ordered: what is delayed does not hold back the rest');

-- Refused.
SELECT pg_temp.refused($$SELECT eb_emit('prio.a', '1', priority => 10)$$, '22023', '%priority%', 'priority 10');
SELECT pg_temp.refused($$SELECT eb_emit('prio.a', '1', priority => -1)$$, '22023', '%priority%', 'priority -1');
SELECT pg_temp.refused($$SELECT eb_emit('prio.a', '1', deliver_at => 'infinity')$$, '22023', '%deliver_at%', 'infinite delay');
SELECT * FROM finish();
