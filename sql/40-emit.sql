-- Emitting.  Nothing here is for PUBLIC: grant EXECUTE to the roles that may emit; they need no right on any table.

CREATE FUNCTION @extschema@.eb_emit(
    type text, payload jsonb, aggregate_id text DEFAULT NULL, event_id uuid DEFAULT NULL,
    correlation_id uuid DEFAULT NULL, causation_id uuid DEFAULT NULL, headers jsonb DEFAULT NULL,
    priority int DEFAULT 0, deliver_at timestamptz DEFAULT NULL)
RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventbus_emit';
COMMENT ON FUNCTION @extschema@.eb_emit(text, jsonb, text, uuid, uuid, uuid, jsonb, int, timestamptz)
IS 'emits an event with this transaction''s commit and returns its id';
REVOKE ALL ON FUNCTION @extschema@.eb_emit(text, jsonb, text, uuid, uuid, uuid, jsonb, int, timestamptz) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_emit(events jsonb)
RETURNS uuid[]
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventbus_emit_json';
COMMENT ON FUNCTION @extschema@.eb_emit(jsonb)
IS 'emits one envelope object or an array of them and returns the ids in input order; CloudEvents are understood';
REVOKE ALL ON FUNCTION @extschema@.eb_emit(jsonb) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_pending()
RETURNS SETOF @extschema@.eb_event
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'eventbus_pending';
COMMENT ON FUNCTION @extschema@.eb_pending()
IS 'what this transaction has emitted so far, in order; the offset is NULL until the commit';
REVOKE ALL ON FUNCTION @extschema@.eb_pending() FROM PUBLIC;
