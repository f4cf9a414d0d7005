-- The same for PgQ: a tick and a look every ten milliseconds, maintenance every ten seconds.
CREATE UNLOGGED TABLE bench.seen (at timestamptz, events int, fetch_ms float8, delay_ms float8);
CREATE PROCEDURE bench.consume(until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz;
    batch bigint;
    n int;
    oldest timestamptz;
    maintained timestamptz := clock_timestamp();
BEGIN
    WHILE clock_timestamp() < until LOOP
        PERFORM pgq.ticker('q');
        COMMIT;
        begun := clock_timestamp();
        batch := pgq.next_batch('q', 'c');
        IF batch IS NOT NULL THEN
            SELECT count(*), min(ev_time) INTO n, oldest FROM pgq.get_batch_events(batch);
            IF n > 0 THEN
                INSERT INTO bench.seen SELECT now, n, extract(epoch FROM now - begun) * 1000, extract(epoch FROM now - oldest) * 1000
                FROM clock_timestamp() AS now;
            END IF;
            COMMIT;
            PERFORM pgq.finish_batch(batch);
        END IF;
        COMMIT;
        IF batch IS NULL OR n = 0 THEN
            PERFORM pg_sleep(0.01);
        END IF;
        IF clock_timestamp() > maintained + interval '10 s' THEN
            PERFORM pgq.maint_rotate_tables_step1('q');
            COMMIT;
            PERFORM pgq.maint_rotate_tables_step2();
            COMMIT;
            maintained := clock_timestamp();
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION bench.queue_size() RETURNS numeric LANGUAGE sql
AS $$ SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relnamespace = 'pgq'::regnamespace AND c.relkind = 'r' $$;

CREATE FUNCTION bench.points(every int) RETURNS TABLE (t numeric, rate numeric, p99 float8) LANGUAGE sql
AS $$
    SELECT b * every, round(sum(events) / every), percentile_disc(0.99) WITHIN GROUP (ORDER BY fetch_ms)
    FROM (SELECT floor(extract(epoch FROM at - min(at) OVER ()) / every) AS b, events, fetch_ms FROM bench.seen) s
    GROUP BY b ORDER BY b
$$;
