-- A consumer that looks every millisecond and notes what each fetch took.
CREATE UNLOGGED TABLE bench.seen (at timestamptz, events int, fetch_ms float8, delay_ms float8);
CREATE PROCEDURE bench.consume(until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz;
    receipts bigint[];
    n int;
    oldest timestamptz;
BEGIN
    WHILE clock_timestamp() < until LOOP
        begun := clock_timestamp();
        SELECT count(*), array_agg(DISTINCT receipt), min(emitted_at) INTO n, receipts, oldest FROM eb_fetch('one', 1000);
        IF n = 0 THEN
            COMMIT;
            PERFORM pg_sleep(0.001);
            CONTINUE;
        END IF;
        INSERT INTO bench.seen SELECT now, n, extract(epoch FROM now - begun) * 1000, extract(epoch FROM now - oldest) * 1000
        FROM clock_timestamp() AS now;
        COMMIT;
        PERFORM eb_ack(r) FROM unnest(receipts) AS r;
        COMMIT;
    END LOOP;
END $$;

CREATE FUNCTION bench.queue_size() RETURNS numeric LANGUAGE sql
AS $$ SELECT sum(pg_total_relation_size(i.inhrelid)) FROM pg_inherits i WHERE i.inhparent = 'eventbus.delivery'::regclass $$;

CREATE FUNCTION bench.points(every int) RETURNS TABLE (t numeric, rate numeric, p99 float8) LANGUAGE sql
AS $$
    SELECT b * every, round(sum(events) / every), percentile_disc(0.99) WITHIN GROUP (ORDER BY fetch_ms)
    FROM (SELECT floor(extract(epoch FROM at - min(at) OVER ()) / every) AS b, events, fetch_ms FROM bench.seen) s
    GROUP BY b ORDER BY b
$$;
