-- The rival PgQ: one queue, one consumer.
CREATE SCHEMA bench;
CREATE FUNCTION payload() RETURNS text IMMUTABLE LANGUAGE sql
AS $$ SELECT jsonb_build_object('order_id', 4711, 'pad', repeat('x', 160))::text $$;

CREATE PROCEDURE bench.reset() LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pgq.queue WHERE queue_name = 'q') THEN
        PERFORM pgq.drop_queue('q', true);
    END IF;
    PERFORM pgq.create_queue('q');
    PERFORM pgq.register_consumer('q', 'c');
    PERFORM pgq.set_queue_config('q', 'ticker_max_count', '1');
    PERFORM pgq.set_queue_config('q', 'ticker_max_lag', '1 millisecond');
    PERFORM pgq.set_queue_config('q', 'ticker_idle_period', '1 millisecond');
    COMMIT;
    PERFORM pgq.ticker();
    COMMIT;
END $$;

-- A batch lies between two ticks.
CREATE PROCEDURE bench.load(n int, per int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n / per LOOP
        PERFORM pgq.insert_event('q', 'order.placed', payload(), k::text, NULL, NULL, NULL)
        FROM generate_series(1, per) k;
        COMMIT;
        PERFORM pgq.force_tick('q');
        PERFORM pgq.ticker('q');
        COMMIT;
    END LOOP;
END $$;

CREATE FUNCTION bench.cpu() RETURNS float8 LANGUAGE sql
AS $$ SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::float8 / 1e9 $$;

CREATE PROCEDURE bench.drain(wanted int, INOUT rate float8 = NULL, INOUT cpu_rate float8 = NULL) LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    begun_cpu float8 := bench.cpu();
    done int := 0;
    n int;
    batch bigint;
BEGIN
    LOOP
        batch := pgq.next_batch('q', 'c');
        COMMIT;
        EXIT WHEN batch IS NULL;
        SELECT count(ev_id) INTO n FROM pgq.get_batch_events(batch);
        PERFORM pgq.finish_batch(batch);
        COMMIT;
        done := done + n;
    END LOOP;
    rate := done / extract(epoch FROM clock_timestamp() - begun);
    cpu_rate := done / (bench.cpu() - begun_cpu);
    IF done <> wanted THEN
        RAISE EXCEPTION 'drained % of % events', done, wanted;
    END IF;
END $$;

CREATE UNLOGGED TABLE bench.got (at timestamptz, xids bigint[]);
-- With tick, the ticker is called at every look; a look comes every millisecond.
CREATE PROCEDURE bench.listen(tick boolean, until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    batch bigint;
    seen bigint[];
BEGIN
    WHILE clock_timestamp() < until LOOP
        IF tick THEN
            PERFORM pgq.ticker('q');
            COMMIT;
        END IF;
        batch := pgq.next_batch('q', 'c');
        COMMIT;
        IF batch IS NULL THEN
            PERFORM pg_sleep(0.001);
        ELSE
            SELECT array_agg(ev_txid) INTO seen FROM pgq.get_batch_events(batch);
            INSERT INTO bench.got SELECT clock_timestamp(), seen WHERE seen IS NOT NULL;
            PERFORM pgq.finish_batch(batch);
        END IF;
        COMMIT;
    END LOOP;
END $$;
-- What pgqd does by default: a look every second.
CREATE PROCEDURE bench.tick_as_pgqd(until timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    WHILE clock_timestamp() < until LOOP
        PERFORM pgq.ticker();
        COMMIT;
        PERFORM pg_sleep(1);
    END LOOP;
END $$;
CREATE VIEW bench.latency AS
SELECT extract(epoch FROM g.at - pg_xact_commit_timestamp((x & 4294967295)::text::xid)) * 1000 AS ms
FROM bench.got g, unnest(g.xids) x;
