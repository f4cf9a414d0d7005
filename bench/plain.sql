-- The rival without a bus: a table of the log's columns with an identity key.
CREATE TABLE event (
    "offset"       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deliver_at     timestamptz,
    event_id       uuid        NOT NULL DEFAULT gen_random_uuid(),
    correlation_id uuid        NOT NULL DEFAULT gen_random_uuid(),
    causation_id   uuid,
    priority       smallint    NOT NULL DEFAULT 0,
    type           text        NOT NULL,
    aggregate_id   text,
    payload        jsonb       NOT NULL,
    headers        jsonb
);
CREATE FUNCTION payload() RETURNS jsonb IMMUTABLE LANGUAGE sql
AS $$ SELECT jsonb_build_object('order_id', 4711, 'pad', repeat('x', 160)) $$;
CREATE PROCEDURE load(n int, per int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n / per LOOP
        INSERT INTO event (type, aggregate_id, payload)
        SELECT 'order.placed', k::text, payload() FROM generate_series(1, per) k;
        COMMIT;
    END LOOP;
END $$;
