-- The log, its progress, and what stops duplicates at the door.

-- Indexes are made on the partitions: see src/partition.c.
CREATE TABLE eventbus.event (
    "offset"       bigint      NOT NULL,
    deliver_at     timestamptz,
    event_id       uuid        NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    priority       smallint    NOT NULL,
    type           text        NOT NULL,
    aggregate_id   text,
    payload        jsonb       NOT NULL,
    headers        jsonb
) PARTITION BY RANGE ("offset");
COMMENT ON TABLE eventbus.event IS 'the log: every committed event by offset, in segments of an offset range';

-- One row a pass of the relay; insert-only.  The last row, by position and then pass, is where the relay is.  Stores 0
-- and 1 take turns and are truncated; a row a second is kept for as long as the log, for questions by time.
CREATE TABLE eventbus.progress (
    position bigint      NOT NULL,
    pass     bigint      NOT NULL,
    at       timestamptz NOT NULL,
    cursors  bigint[],
    store    smallint    NOT NULL
) PARTITION BY LIST (store);
COMMENT ON TABLE eventbus.progress IS 'how far the relay has come, and when: every event committed after "at" has a higher offset than position; cursors are (subscription, position) pairs of those that are behind';
DO $$
DECLARE
    store text;
BEGIN
    FOREACH store IN ARRAY ARRAY['0', '1', 'kept'] LOOP
        EXECUTE format('CREATE TABLE eventbus.progress_%1$s PARTITION OF eventbus.progress FOR VALUES IN (%2$s)', store,
            CASE store WHEN 'kept' THEN '2' ELSE store END);
        EXECUTE format('CREATE UNIQUE INDEX progress_%1$s_position ON eventbus.progress_%1$s (position, pass)', store);
        EXECUTE format('CREATE INDEX progress_%1$s_at ON eventbus.progress_%1$s (at)', store);
        EXECUTE format('COMMENT ON TABLE eventbus.progress_%1$s IS %2$L', store, 'a store of eventbus.progress');
    END LOOP;
END
$$;

-- Ids that callers gave, each in the partition of its own timestamp.
CREATE TABLE eventbus.dedup (
    event_id uuid NOT NULL
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE eventbus.dedup IS 'event ids given by callers, remembered for eventbus.dedup_window';

-- What eb_once was asked for, likewise.
CREATE TABLE eventbus.once (
    event_id uuid NOT NULL,
    scope    text COLLATE "C" NOT NULL
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE eventbus.once IS 'what eb_once has answered true to, remembered for eventbus.dedup_window';
