-- eb_health(), the statistics views and eb_metrics(): shape, rights, hints.
BEGIN;
SELECT plan(21);

SELECT results_eq('SELECT component FROM eb_health()',
    ARRAY['preload', 'version', 'launcher', 'worker slots', 'relay', 'relay lag', 'queue', 'queue storage', 'epoch', 'retention'], 'one row a component');
SELECT is((SELECT count(*) FROM eb_health() WHERE status NOT IN ('ok', 'warn', 'fail')), 0::bigint, 'status is ok, warn or fail');
SELECT is((SELECT count(*) FROM eb_health() WHERE status <> 'ok' AND hint IS NULL), 0::bigint, 'what is not well has a hint');
SELECT is((SELECT count(*) FROM eb_health() WHERE detail IS NULL), 0::bigint, 'every row has a detail');
SELECT is((SELECT status FROM eb_health() WHERE component = 'preload'), 'ok', 'the library is preloaded');
SELECT is((SELECT status FROM eb_health() WHERE component = 'launcher'), 'ok', 'the launcher runs');

SELECT is((SELECT count(*) FROM eb_stat_bus), 1::bigint, 'eb_stat_bus is one row');
SELECT columns_are('eb_stat_relay', ARRAY['database', 'state', 'pid', 'up', 'passes', 'last_pass_s', 'position', 'lag',
    'failures', 'error']);
SELECT columns_are('eb_stat_subscription', ARRAY['name', 'state', 'queued', 'leased', 'retrying', 'delayed',
    'dead', 'oldest_s', 'in_s', 'out_s', 'waiting']);
SELECT columns_are('eb_stat_delivery', ARRAY['name', 'routed', 'fetched', 'acked', 'nacked', 'retried', 'expired', 'dead',
    'p50_ms', 'p99_ms']);
SELECT columns_are('eb_stat_consumer', ARRAY['subscription', 'consumer', 'state', 'deliveries', 'events', 'attempt',
    'lease_s']);
SELECT is((SELECT count(*) FROM eb_stat_relay WHERE database = current_database()), 1::bigint, 'eb_stat_relay knows this database');

SELECT is((SELECT count(*) FROM eb_metrics() WHERE name !~ '^eventbus_[a-z_]+$'), 0::bigint, 'metrics have Prometheus names');
SELECT is((SELECT count(*) FROM eb_metrics() WHERE type NOT IN ('counter', 'gauge', 'histogram')), 0::bigint, 'a metric is a counter, a gauge or part of a histogram');
SELECT is((SELECT count(*) FROM eb_metrics() WHERE (type = 'counter') <> (name LIKE '%\_total')), 0::bigint, 'counters end in _total, and only they');
SELECT is((SELECT count(*) FROM (SELECT FROM eb_metrics() GROUP BY name, labels HAVING count(*) > 1) d), 0::bigint, 'no metric comes twice');
SELECT is((SELECT count(*) FROM eb_metrics() WHERE value IS NULL), 0::bigint, 'every metric has a value');

CREATE ROLE eb_test_watcher;
CREATE ROLE eb_test_nobody;
GRANT pg_monitor TO eb_test_watcher;
SET ROLE eb_test_watcher;
SELECT lives_ok('SELECT * FROM eb_health(), eb_stat_bus', 'pg_monitor may see the health and the bus');
SELECT lives_ok('SELECT * FROM eb_metrics(), eb_stat_relay, eb_stat_subscription, eb_stat_delivery, eb_stat_consumer', 'and the rest');
SET ROLE eb_test_nobody;
SELECT throws_ok('SELECT * FROM eb_health()', '42501', NULL, 'others may not');
SELECT throws_ok('SELECT * FROM eb_stat_bus', '42501', NULL, 'neither the views');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
