-- Rows of a fetch come by priority, then offset, whatever they come from; and no priority starves.
SELECT plan(9);

CREATE FUNCTION pg_temp.settle(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eb_ack(f.receipt) FROM (SELECT DISTINCT receipt FROM eb_fetch(name, 10000)) f;
END
$$;

-- order within a call
SELECT eb_subscribe('order');
SELECT eb_emit('a.b', to_jsonb(p), priority => p) FROM unnest(ARRAY[3, 0, 9, 3, 7, 0]) p;
SELECT eb_relay_run();
SELECT results_eq($$SELECT priority::int, "offset" FROM eb_fetch('order')$$,
    $$SELECT priority::int, "offset" FROM eb_read(1) ORDER BY 1 DESC, 2$$, 'rows come by priority, then offset');

-- the same with failed events, delayed ones and parts of batches among them
SELECT eb_subscribe('mixed', from_offset => 1);
SELECT eb_relay_run();
SELECT eb_nack(receipt, ARRAY[event_id], retry_after => '0') FROM eb_fetch('mixed') WHERE "offset" IN (1, 2, 5);
SELECT eb_emit('a.b', '"late"', priority => 5, deliver_at => clock_timestamp() + interval '20 ms');
SELECT eb_emit('a.b', '"new"', priority => 8);
SELECT eb_relay_run();
DO $$
BEGIN
    WHILE clock_timestamp() < (SELECT max(deliver_at) FROM eb_read(1)) LOOP
    END LOOP;
END
$$;
CREATE TEMP TABLE got AS SELECT row_number() OVER () AS n, * FROM eb_fetch('mixed');
SELECT is((SELECT count(*) FROM got), 5::bigint, 'three retries, one that was delayed, a new one');
SELECT results_eq('SELECT "offset" FROM got ORDER BY n', 'SELECT "offset" FROM got ORDER BY priority DESC, "offset"',
    'retried and delayed events are sorted in');
DROP TABLE got;

-- an ordered subscription's aggregates keep their order
SELECT eb_subscribe('ordered', topics => '{o.>}', ordering => 'aggregate');
SELECT eb_emit('o.x', to_jsonb(i), aggregate_id => (i % 3)::text, priority => i % 10) FROM generate_series(1, 60) i;
SELECT eb_relay_run();
CREATE TEMP TABLE got AS SELECT row_number() OVER () AS n, * FROM eb_fetch('ordered');
SELECT is((SELECT count(*) FROM got), 60::bigint, 'every aggregate was delivered');
SELECT is((SELECT count(*) FROM (SELECT "offset" < lag("offset") OVER (PARTITION BY aggregate_id ORDER BY n) AS wrong FROM got) g
    WHERE wrong), 0::bigint, 'in its order, whatever the priorities');

-- ageing: urgent events keep coming, the old one gets its turn
SELECT eb_subscribe('age', topics => '{age.>}');
SELECT eb_emit('age.low', '{}');
SELECT eb_relay_run();
SELECT eb_emit('age.high', to_jsonb(i), priority => 9) FROM generate_series(1, 100) i;
SELECT eb_relay_run();
CREATE TEMP TABLE taken (n int, type text);
DO $$
DECLARE
    f record;
BEGIN
    FOR i IN 1..16 LOOP
        SELECT * INTO f FROM eb_fetch('age', 1);
        INSERT INTO taken VALUES (i, f.type);
        PERFORM eb_ack(f.receipt);
    END LOOP;
END
$$;
SELECT is((SELECT count(*) FROM taken WHERE type = 'age.low'), 1::bigint, 'within sixteen fetches the old event had its turn');
SELECT cmp_ok((SELECT n FROM taken WHERE type = 'age.low'), '<=', 8, 'within eight in fact');
SELECT is((SELECT count(*) FROM taken WHERE type = 'age.high'), 15::bigint, 'the rest went to the urgent ones');
SELECT pg_temp.settle('age');
SELECT is((SELECT count(*) FROM eb_fetch('age')), 0::bigint, 'nothing is left');

SELECT * FROM finish();
