-- Types and vocabulary.  Functions, types and views go to @extschema@, tables to
-- schema eventbus.

\echo Use "CREATE EXTENSION eventbus" to load this file. \quit

-- Everything below is qualified; operators and casts come from the system alone, whatever is planted in the
-- target schema.  CREATE EXTENSION puts the path back.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE SCHEMA eventbus;
COMMENT ON SCHEMA eventbus IS 'tables of the event bus; applications use the eb_* functions instead';
REVOKE ALL ON SCHEMA eventbus FROM PUBLIC;

CREATE TYPE @extschema@.eb_reason AS ENUM (
    'DeliveryFailed', 'DeserializationFailed', 'DuplicateEvent', 'HandlerMissing', 'HandlerTimeout',
    'MaxRetries', 'TransactionRollback', 'ValidationFailed');
COMMENT ON TYPE @extschema@.eb_reason IS 'why a delivery failed; see the view eb_reasons';

CREATE TYPE @extschema@.eb_event AS (
    "offset" bigint, event_id uuid, type text, aggregate_id text, payload jsonb, correlation_id uuid,
    causation_id uuid, headers jsonb, priority smallint, deliver_at timestamptz, emitted_at timestamptz);
COMMENT ON TYPE @extschema@.eb_event IS 'an event with its envelope; offset is NULL until the commit';

CREATE TYPE @extschema@.eb_delivery AS (
    receipt bigint, attempt int, first_delivered_at timestamptz, replayed boolean,
    "offset" bigint, event_id uuid, type text, aggregate_id text, payload jsonb, correlation_id uuid,
    causation_id uuid, headers jsonb, priority smallint, deliver_at timestamptz, emitted_at timestamptz);
COMMENT ON TYPE @extschema@.eb_delivery IS 'an event as a consumer gets it: receipt and attempt, then the event';

CREATE VIEW @extschema@.eb_reasons AS
SELECT r AS reason,
       r IN ('DeliveryFailed', 'HandlerTimeout') AS retryable,
       r NOT IN ('DeliveryFailed', 'HandlerTimeout') AS terminal
FROM pg_catalog.unnest(pg_catalog.enum_range(NULL::@extschema@.eb_reason)) AS r;
COMMENT ON VIEW @extschema@.eb_reasons IS 'every failure reason: retryable ones are retried, terminal ones dead-letter at once';
GRANT SELECT ON @extschema@.eb_reasons TO PUBLIC;
