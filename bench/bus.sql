-- Helpers of the benchmark in the database with eventbus.
CREATE SCHEMA bench;
-- jsonb of 200 bytes
CREATE FUNCTION payload() RETURNS jsonb IMMUTABLE LANGUAGE sql
AS $$ SELECT jsonb_build_object('order_id', 4711, 'pad', repeat('x', 160)) $$;

CREATE FUNCTION bench.routed() RETURNS bigint LANGUAGE sql
AS $$ SELECT greatest(coalesce(max(position), 0),
        CASE WHEN (SELECT count(*) FROM eventbus.subscription) = 0 THEN eb_last_offset() ELSE 0 END)
      FROM (SELECT position FROM eventbus.progress ORDER BY position DESC LIMIT 1) p $$;

CREATE PROCEDURE bench.load(n int, per int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n / per LOOP
        PERFORM eb_emit('order.placed', payload(), k::text) FROM generate_series(1, per) k;
        COMMIT;
    END LOOP;
END $$;

-- Processor seconds that this backend has taken, its own figure on a shared machine.
CREATE FUNCTION bench.cpu() RETURNS float8 LANGUAGE sql
AS $$ SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::float8 / 1e9 $$;

-- Fetch and ack until that many are done; commits after each.  Events per second.
CREATE PROCEDURE bench.drain(sub text, per int, wanted int, INOUT rate float8 = NULL) LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    done int := 0;
    n int;
    receipts bigint[];
    rest interval := '0';
BEGIN
    WHILE done < wanted LOOP
        SELECT count(*), array_agg(DISTINCT receipt) INTO n, receipts FROM eb_fetch(sub, per, wait => rest);
        COMMIT;
        EXIT WHEN n = 0;
        FOR i IN 1 .. cardinality(receipts) LOOP
            PERFORM eb_ack(receipts[i]);
        END LOOP;
        COMMIT;
        done := done + n;
    END LOOP;
    rate := done / extract(epoch FROM clock_timestamp() - begun);
    IF done < wanted THEN
        RAISE EXCEPTION 'drained % of % events', done, wanted;
    END IF;
END $$;

-- The same where a fetch is one delivery, the leanest loop there is.  Events per
-- second, by the clock and by the processor.
CREATE PROCEDURE bench.drain_batches(sub text, per int, wanted int, INOUT rate float8 = NULL, INOUT cpu_rate float8 = NULL)
LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    begun_cpu float8 := bench.cpu();
    done int := 0;
    n int;
    low bigint;
    high bigint;
BEGIN
    LOOP
        SELECT count(*), min(receipt), max(receipt) INTO n, low, high FROM eb_fetch(sub, per);
        COMMIT;
        EXIT WHEN n = 0;
        IF low <> high THEN
            RAISE EXCEPTION 'two deliveries in one fetch';
        END IF;
        PERFORM eb_ack(low);
        COMMIT;
        done := done + n;
    END LOOP;
    rate := done / extract(epoch FROM clock_timestamp() - begun);
    cpu_rate := done / (bench.cpu() - begun_cpu);
    IF done <> wanted THEN
        RAISE EXCEPTION 'drained % of % events', done, wanted;
    END IF;
END $$;

-- Fails "share" of the events of each delivery; they come back after the back-off.
CREATE PROCEDURE bench.storm(sub text, per int, share float8, wanted int, INOUT rate float8 = NULL, INOUT cpu_rate float8 = NULL)
LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    begun_cpu float8 := bench.cpu();
    done int := 0;
    got int;
    bad int;
    d record;
BEGIN
    WHILE done < wanted LOOP
        got := 0;
        FOR d IN SELECT receipt, array_agg(event_id) AS ids FROM eb_fetch(sub, per, wait => '1 s') GROUP BY receipt LOOP
            got := got + cardinality(d.ids);
            bad := floor(cardinality(d.ids) * share + random());
            IF bad > 0 THEN
                PERFORM eb_nack(d.receipt, d.ids[1:bad], 'storm');
            END IF;
            IF bad < cardinality(d.ids) THEN
                PERFORM eb_ack(d.receipt);
            END IF;
            done := done + cardinality(d.ids) - bad;
        END LOOP;
        COMMIT;
        EXIT WHEN got = 0;
    END LOOP;
    rate := done / extract(epoch FROM clock_timestamp() - begun);
    cpu_rate := done / (bench.cpu() - begun_cpu);
END $$;

-- What the latency measure saw.
CREATE UNLOGGED TABLE bench.got (at timestamptz, offsets bigint[]);
CREATE PROCEDURE bench.listen(sub text, until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    receipts bigint[];
    seen bigint[];
BEGIN
    WHILE clock_timestamp() < until LOOP
        SELECT array_agg("offset"), array_agg(receipt) INTO seen, receipts FROM eb_fetch(sub, 1000, wait => '200 ms');
        INSERT INTO bench.got SELECT clock_timestamp(), seen WHERE seen IS NOT NULL;
        PERFORM eb_ack(r) FROM (SELECT DISTINCT unnest(receipts)) AS u (r);
        COMMIT;
    END LOOP;
END $$;
CREATE VIEW bench.latency AS
SELECT o AS "offset", e.type, pg_xact_commit_timestamp(e.xmin) AS committed, g.at,
       extract(epoch FROM g.at - pg_xact_commit_timestamp(e.xmin)) * 1000 AS ms
FROM bench.got g, unnest(g.offsets) o JOIN eventbus.event e ON e."offset" = o;

-- One of several consumers; done when nothing has come for a moment.
CREATE PROCEDURE bench.compete(sub text, per int) LANGUAGE plpgsql AS $$
DECLARE
    r bigint[];
    idle int := 0;
BEGIN
    LOOP
        SELECT array_agg(DISTINCT receipt) INTO r FROM eb_fetch(sub, per);
        COMMIT;
        IF r IS NULL THEN
            idle := idle + 1;
            EXIT WHEN idle > 5 AND NOT EXISTS (SELECT FROM eventbus.delivery);
            PERFORM pg_sleep(0.001);
            CONTINUE;
        END IF;
        idle := 0;
        FOR i IN 1 .. cardinality(r) LOOP
            PERFORM eb_ack(r[i]);
        END LOOP;
        COMMIT;
    END LOOP;
END $$;

-- Subscribes in the past and drains what the filter lets through.
CREATE PROCEDURE bench.filtered(first bigint, wanted int) LANGUAGE plpgsql AS $$
DECLARE
    done int := 0;
    n int;
    receipts bigint[];
BEGIN
    PERFORM eb_subscribe('one', filter => '$.k == 7', from_offset => first);
    COMMIT;
    WHILE done < wanted LOOP
        SELECT count(*), array_agg(DISTINCT receipt) INTO n, receipts FROM eb_fetch('one', 1000, wait => '10 s');
        EXIT WHEN n = 0;
        PERFORM eb_ack(r) FROM unnest(receipts) AS r;
        COMMIT;
        done := done + n;
    END LOOP;
    IF done <> wanted THEN
        RAISE EXCEPTION 'got % of % events', done, wanted;
    END IF;
END $$;
