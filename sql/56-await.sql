-- What became of an event, and doing something once.

CREATE FUNCTION @extschema@.eb_await(event_id uuid, subscription text = NULL, timeout interval = '5 s')
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_await';
COMMENT ON FUNCTION @extschema@.eb_await IS 'waits until an event is settled in a subscription, or in all: acked, dead or timeout';

CREATE FUNCTION @extschema@.eb_once(scope text, event_id uuid)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_once';
COMMENT ON FUNCTION @extschema@.eb_once IS 'true the first time in this scope, for this event, within eventbus.dedup_window: do it now';

REVOKE ALL ON FUNCTION @extschema@.eb_await, @extschema@.eb_once FROM PUBLIC;
