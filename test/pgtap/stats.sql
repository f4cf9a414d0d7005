-- What the statistics count.
SELECT plan(24);

CREATE FUNCTION pg_temp.metric(metric text, sub text = NULL, bucket text = NULL) RETURNS double precision LANGUAGE sql AS $$
    SELECT value FROM eb_metrics() m WHERE m.name = metric AND m.labels->>'subscription' IS NOT DISTINCT FROM sub
        AND m.labels->>'le' IS NOT DISTINCT FROM bucket
$$;

SELECT eb_subscribe('s', max_attempts => 2, filter => '$.x > 0 || !exists($.x)');
SELECT is(pg_temp.metric('eventbus_subscriptions'), 1::double precision, 'eventbus_subscriptions');
SELECT count(eb_emit('a.b', to_jsonb(i))) FROM generate_series(1, 10) i;
SELECT eb_emit('a.b', '0', deliver_at => clock_timestamp() + interval '1 hour');
SELECT is(pg_temp.metric('eventbus_events_emitted_total'), 11::double precision, 'eventbus_events_emitted_total');
SELECT eb_relay_run();
SELECT is(pg_temp.metric('eventbus_outbox_depth'), 0::double precision, 'eventbus_outbox_depth: all is routed');
SELECT results_eq('SELECT queued, leased, retrying, delayed, dead FROM eb_stat_subscription',
    'VALUES (10::bigint, 0::bigint, 0::bigint, 1::bigint, 0::bigint)', 'queued and delayed');

CREATE TEMP TABLE got AS SELECT row_number() OVER () AS n, * FROM eb_fetch('s');
SELECT results_eq('SELECT queued, leased FROM eb_stat_subscription', 'VALUES (0::bigint, 10::bigint)', 'leased');
SELECT eb_ack(receipt, ARRAY[event_id]) FROM got WHERE n <= 5;
BEGIN;
SELECT eb_ack(receipt, ARRAY[event_id]) FROM got WHERE n = 6;
ROLLBACK;
SELECT is(pg_temp.metric('eventbus_events_processed_total', 's'), 5::double precision, 'eventbus_events_processed_total, without what was rolled back');
SELECT eb_nack(receipt, ARRAY[event_id], retry_after => '1 hour') FROM got WHERE n = 6;
SELECT eb_nack(receipt, ARRAY[event_id], reason => 'ValidationFailed') FROM got WHERE n = 7;
SELECT is(pg_temp.metric('eventbus_retries_total', 's'), 1::double precision, 'eventbus_retries_total');
SELECT is(pg_temp.metric('eventbus_events_dead_lettered_total', 's'), 1::double precision, 'eventbus_events_dead_lettered_total');
SELECT results_eq('SELECT queued, leased, retrying, delayed, dead FROM eb_stat_subscription',
    'VALUES (0::bigint, 3::bigint, 1::bigint, 1::bigint, 1::bigint)', 'retrying and dead');
SELECT results_eq('SELECT routed, fetched, acked, nacked, retried, dead FROM eb_stat_delivery',
    'VALUES (11::bigint, 10::bigint, 5::bigint, 2::bigint, 1::bigint, 1::bigint)', 'eb_stat_delivery counts the same');

-- latency
SELECT is(pg_temp.metric('eventbus_delivery_latency_seconds_count', 's'), 10::double precision, 'every first delivery is measured');
SELECT is(pg_temp.metric('eventbus_delivery_latency_seconds_bucket', 's', '+Inf'), 10::double precision, 'the last bucket has them all');
SELECT cmp_ok(pg_temp.metric('eventbus_delivery_latency_seconds_sum', 's'), '>', 0::double precision, 'and their sum');
SELECT is((SELECT count(*) FROM eb_metrics() WHERE name = 'eventbus_delivery_latency_seconds_bucket'), 22::bigint, 'in log-scale buckets');
SELECT is((SELECT count(*) FROM (SELECT value < lag(value) OVER (ORDER BY (labels->>'le')::double precision) AS falls FROM eb_metrics()
    WHERE name = 'eventbus_delivery_latency_seconds_bucket') b WHERE falls), 0::bigint, 'which are cumulative');
SELECT ok((SELECT p50_ms <= p99_ms FROM eb_stat_delivery), 'quantiles come of them');
SELECT is(eventbus.latency_quantile('{5,4,1}', 0.5), 1::double precision, 'an upper bound');
SELECT is(eventbus.latency_quantile('{5,4,1}', 0.95), 4::double precision, 'in milliseconds');
SELECT is(eventbus.latency_quantile('{0,0,0}', 0.5), NULL, 'of nothing there is none');
SELECT eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM got) g;
SELECT eb_dlq_replay(subscription => 's');
SELECT is((SELECT count(*) FROM eb_fetch('s')), 1::bigint, 'a replayed event');
SELECT is(pg_temp.metric('eventbus_delivery_latency_seconds_count', 's'), 10::double precision, 'is not measured again');

-- duplicates, filters that fail
SELECT event_id AS again FROM got WHERE n = 1 \gset
SELECT eb_emit('a.b', '1', event_id => :'again');
SELECT is(pg_temp.metric('eventbus_duplicates_skipped_total'), 1::double precision, 'eventbus_duplicates_skipped_total');
SELECT eb_emit('a.b', '{"x": "text"}');
SELECT eb_relay_run();
SELECT is(pg_temp.metric('eventbus_subscription_filter_errors_total', 's'), 1::double precision, 'a filter that fails is counted');

-- rates are sampled once a second by whoever keeps house
DO $$
BEGIN
    FOR i IN 1..100000 LOOP
        PERFORM eb_relay_run();
        EXIT WHEN (SELECT in_s > 0 AND out_s > 0 FROM eb_stat_subscription);
    END LOOP;
END
$$;
SELECT ok((SELECT in_s > 0 AND out_s > 0 FROM eb_stat_subscription), 'rates rise');

SELECT * FROM finish();
