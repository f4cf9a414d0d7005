-- Reading the log.  GetLatestSnapshot is not to be had while a parallel query runs, hence unsafe.

CREATE FUNCTION @extschema@.eb_read(
    from_offset bigint, max_events int DEFAULT 100, topics text[] DEFAULT NULL, filter jsonpath DEFAULT NULL)
RETURNS SETOF @extschema@.eb_event
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventbus_read';
COMMENT ON FUNCTION @extschema@.eb_read(bigint, int, text[], jsonpath)
IS 'events of the log in offset order from from_offset on, never past the safe offset';
REVOKE ALL ON FUNCTION @extschema@.eb_read(bigint, int, text[], jsonpath) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_get(event_id uuid)
RETURNS @extschema@.eb_event
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventbus_get';
COMMENT ON FUNCTION @extschema@.eb_get(uuid) IS 'the event with this id, NULL if the log does not have it';
REVOKE ALL ON FUNCTION @extschema@.eb_get(uuid) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_last_offset()
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventbus_last_offset';
COMMENT ON FUNCTION @extschema@.eb_last_offset()
IS 'the safe offset: nothing new can appear at or below it; 0 while the log is empty';
REVOKE ALL ON FUNCTION @extschema@.eb_last_offset() FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_offset_at(at timestamptz)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventbus_offset_at';
COMMENT ON FUNCTION @extschema@.eb_offset_at(timestamptz)
IS 'an offset at or below every event committed at or after that time';
REVOKE ALL ON FUNCTION @extschema@.eb_offset_at(timestamptz) FROM PUBLIC;
