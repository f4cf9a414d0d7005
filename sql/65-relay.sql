-- The relay, by hand.

CREATE FUNCTION @extschema@.eb_relay_run()
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_relay_run';
COMMENT ON FUNCTION @extschema@.eb_relay_run IS 'makes one pass of the relay in this session; returns the events put into deliveries';
REVOKE ALL ON FUNCTION @extschema@.eb_relay_run FROM PUBLIC;
