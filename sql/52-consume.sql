-- Consuming.

CREATE FUNCTION @extschema@.eb_fetch(subscription text, max_events int = 100, lease interval = NULL, wait interval = '0')
RETURNS SETOF @extschema@.eb_delivery
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'eventbus_fetch';
COMMENT ON FUNCTION @extschema@.eb_fetch IS 'leases up to max_events available events of a subscription; with wait, sleeps until there are some or the time is over';

CREATE FUNCTION @extschema@.eb_ack(receipt bigint, event_ids uuid[] = NULL)
RETURNS int LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_ack';
COMMENT ON FUNCTION @extschema@.eb_ack IS 'settles a delivery as done, or only the events with these ids; returns how many';

CREATE FUNCTION @extschema@.eb_extend(receipt bigint, lease interval = NULL)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_extend';
COMMENT ON FUNCTION @extschema@.eb_extend IS 'makes a lease end that much after now; returns the new end';

REVOKE ALL ON FUNCTION @extschema@.eb_fetch, @extschema@.eb_ack, @extschema@.eb_extend FROM PUBLIC;
