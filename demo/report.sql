-- The demo's checks and figures.  Ends with an error if a check is wrong.
\set QUIET on
\pset format unaligned
\pset tuples_only on

-- Commit to delivery: from the commit record's time stamp, which is taken before
-- the commit is flushed and visible, to the moment eb_fetch has returned.
CREATE TEMP TABLE latency AS
SELECT s.subscription,
       extract(epoch FROM s.seen_at - pg_xact_commit_timestamp(e.xmin)) * 1000 AS ms
FROM demo.seen s
JOIN eventbus.event e USING (event_id);

CREATE TEMP TABLE facts AS
SELECT (SELECT count(*) FROM pgbench_history) AS committed,
       (SELECT count(*) FROM demo.rolled_back) AS rolled_back,
       count(*) AS events,
       min("offset") AS first_offset,
       max("offset") AS last_offset,
       count(DISTINCT event_id) AS distinct_events,
       extract(epoch FROM max(pg_xact_commit_timestamp(xmin)) - min(pg_xact_commit_timestamp(xmin))) AS emit_s,
       extract(epoch FROM (SELECT max(seen_at) FROM demo.seen) - min(pg_xact_commit_timestamp(xmin))) AS deliver_s
FROM eventbus.event;

CREATE TEMP TABLE checks (n int GENERATED ALWAYS AS IDENTITY, what text, found text, ok boolean);

INSERT INTO checks (what, found, ok)
SELECT 'one event per committed transaction',
       format('%s of %s', events, committed), events = committed AND distinct_events = events AND events > 0
FROM facts;

INSERT INTO checks (what, found, ok)
SELECT 'no event of a rolled-back transaction',
       format('%s of %s', count(e.event_id), count(*)), count(e.event_id) = 0 AND count(*) > 0
FROM demo.rolled_back r LEFT JOIN eventbus.event e USING (event_id);

INSERT INTO checks (what, found, ok)
SELECT 'the projection equals pgbench_accounts',
       format('%s accounts, %s differ', count(*) FILTER (WHERE b.aid IS NOT NULL),
              count(*) FILTER (WHERE a.abalance IS DISTINCT FROM coalesce(b.balance, 0))),
       bool_and(a.abalance IS NOT DISTINCT FROM coalesce(b.balance, 0)) AND count(b.aid) > 0
FROM pgbench_accounts a FULL JOIN demo.balance b USING (aid);

INSERT INTO checks (what, found, ok)
SELECT format('%s saw each event exactly once', subscription),
       format('%s missing, %s twice, %s unknown',
              count(*) FILTER (WHERE times = 0), count(*) FILTER (WHERE times > 1),
              count(*) FILTER (WHERE unknown)),
       bool_and(times = 1 AND NOT unknown)
FROM (SELECT subscription, event_id, count(s.event_id) AS times, count(e.event_id) = 0 AS unknown
      FROM (VALUES ('projection'), ('audit')) AS n (subscription)
      CROSS JOIN (SELECT event_id FROM eventbus.event UNION SELECT event_id FROM demo.seen) AS ids
      LEFT JOIN demo.seen s USING (subscription, event_id)
      LEFT JOIN eventbus.event e USING (event_id)
      GROUP BY 1, 2) AS tally
GROUP BY subscription
ORDER BY subscription DESC;

\echo
SELECT format('  %s transactions committed, %s rolled back on purpose; offsets %s to %s',
              committed, rolled_back, first_offset, last_offset) FROM facts;
\echo
SELECT format('  %s  %s  %s', rpad(what, 42), rpad(found, 34), CASE WHEN ok THEN 'ok' ELSE 'WRONG' END)
FROM checks ORDER BY n;
\echo
SELECT format('  %s events/s committed, %s deliveries/s', round(events / emit_s), round(2 * events / deliver_s))
FROM facts;
\echo
\echo '  commit to delivery, ms        p50      p95      p99      max'
SELECT format('    %s %s %s %s %s', rpad(subscription, 20),
              lpad(round(p[1]::numeric, 2)::text, 8), lpad(round(p[2]::numeric, 2)::text, 8),
              lpad(round(p[3]::numeric, 2)::text, 8), lpad(round(p[4]::numeric, 2)::text, 8))
FROM (SELECT subscription,
             percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]::float8[]) WITHIN GROUP (ORDER BY ms::float8) AS p
      FROM latency GROUP BY 1) l
ORDER BY subscription DESC;
\echo
WITH bounds AS (
    SELECT ARRAY[0.25, 0.5, 1, 2, 4, 8, 16, 32, 64] AS b
), bucket AS (
    SELECT width_bucket(ms, b) AS i, count(*) AS n FROM latency, bounds GROUP BY 1
), filled AS (
    SELECT i, coalesce(n, 0) AS n, max(n) OVER () AS most, sum(n) OVER () AS total
    FROM generate_series((SELECT min(i) FROM bucket), (SELECT max(i) FROM bucket)) AS g (i)
    LEFT JOIN bucket USING (i)
)
SELECT format('    %s ms  %s %s', CASE WHEN i = 9 THEN ' >= 64.00' ELSE lpad('< ' || to_char(b[i + 1], 'FM990.00'), 9) END,
              lpad(to_char(100.0 * n / total, 'FM990.0') || ' %', 7), repeat('#', ceil(44.0 * n / most)::int))
FROM filled, bounds ORDER BY i;

DO $$
BEGIN
    IF EXISTS (SELECT FROM checks WHERE ok IS NOT TRUE) THEN
        RAISE EXCEPTION 'a check is wrong';
    END IF;
END $$;
