-- What the demo adds to pgbench's tables.

CREATE EXTENSION eventbus;
CREATE SCHEMA demo;

-- The projection: a balance per account, kept from events alone.
CREATE TABLE demo.balance (aid int PRIMARY KEY, balance bigint NOT NULL);

-- Bookkeeping for the final checks; no uniqueness, so that it could show a
-- second delivery.
CREATE TABLE demo.seen (subscription text, event_id uuid, seen_at timestamptz);
CREATE TABLE demo.rolled_back (event_id uuid);
CREATE TABLE demo.finished (at timestamptz);

-- A consumer: fetch, apply and acknowledge in one transaction, so each event
-- counts exactly once.  eb_fetch sleeps until there is something.
CREATE PROCEDURE demo.consume(subscription text)
LANGUAGE plpgsql AS $$
DECLARE
    batch       eb_delivery[];
    fetched_at  timestamptz;
BEGIN
    LOOP
        batch := ARRAY(SELECT d FROM eb_fetch(subscription, 500, wait => '1 s') d);
        fetched_at := clock_timestamp();
        EXIT WHEN cardinality(batch) = 0 AND EXISTS (SELECT FROM demo.finished);

        IF subscription = 'projection' THEN
            INSERT INTO demo.balance AS b (aid, balance)
            SELECT (d.payload->>'aid')::int, sum((d.payload->>'delta')::int)
            FROM unnest(batch) d
            GROUP BY 1
            ORDER BY 1      -- competing consumers lock accounts in one order
            ON CONFLICT (aid) DO UPDATE SET balance = b.balance + excluded.balance;
        END IF;

        INSERT INTO demo.seen
        SELECT subscription, d.event_id, fetched_at FROM unnest(batch) d;

        PERFORM eb_ack(receipt) FROM (SELECT DISTINCT d.receipt FROM unnest(batch) d) r;
        COMMIT;
    END LOOP;
END $$;

-- How many deliveries are still to come.
CREATE FUNCTION demo.outstanding() RETURNS bigint
BEGIN ATOMIC
    SELECT 2 * (SELECT count(*) FROM eventbus.event) - (SELECT count(*) FROM demo.seen);
END;

SELECT eb_subscribe('projection', '{account.*}');
SELECT eb_subscribe('audit', '{>}');
