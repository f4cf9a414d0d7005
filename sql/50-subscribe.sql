-- Managing subscriptions.

CREATE FUNCTION @extschema@.eb_subscribe(
    name text, topics text[] = '{>}', filter jsonpath = NULL,
    from_offset bigint = NULL, from_time timestamptz = NULL,
    durable boolean = true, ordering text = 'none',
    batch_size int = 100, batch_window interval = '0', lease interval = '30 s',
    max_attempts int = 5, backoff interval = '100 ms', backoff_max interval = '1 min',
    dlq_replay_after interval = NULL, dlq_replay_max int = 3)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_subscribe';
COMMENT ON FUNCTION @extschema@.eb_subscribe IS 'makes a subscription, or changes the settings of the one with that name and keeps its position';

CREATE FUNCTION @extschema@.eb_unsubscribe(name text)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_unsubscribe';
COMMENT ON FUNCTION @extschema@.eb_unsubscribe IS 'drops a subscription and its queue; false if there is none of that name';

CREATE FUNCTION @extschema@.eb_pause(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_pause';
COMMENT ON FUNCTION @extschema@.eb_pause IS 'stops handing out deliveries of a subscription; its queue goes on filling';

CREATE FUNCTION @extschema@.eb_resume(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_resume';
COMMENT ON FUNCTION @extschema@.eb_resume IS 'hands out the deliveries of a paused subscription again';

CREATE FUNCTION @extschema@.eb_seek(name text, to_offset bigint = NULL, to_time timestamptz = NULL)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_seek';
COMMENT ON FUNCTION @extschema@.eb_seek IS 'drops what is queued and goes on from an offset or a time; returns the first offset that may be delivered';

CREATE FUNCTION @extschema@.eb_stat_ephemeral(
    OUT name text, OUT state text, OUT waiting int, OUT fetched bigint, OUT dropped bigint, OUT "position" bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'eventbus_stat_ephemeral';
COMMENT ON FUNCTION @extschema@.eb_stat_ephemeral() IS 'this session''s own subscriptions that are not durable; dropped counts events that were pushed out by newer ones before a fetch';

CREATE FUNCTION eventbus.subscription_changed()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eventbus_subscription_changed';
COMMENT ON FUNCTION eventbus.subscription_changed() IS 'makes every session reload the subscriptions';
CREATE TRIGGER subscription_changed AFTER INSERT OR UPDATE OR DELETE ON eventbus.subscription
FOR EACH STATEMENT EXECUTE FUNCTION eventbus.subscription_changed();

REVOKE ALL ON FUNCTION @extschema@.eb_subscribe, @extschema@.eb_unsubscribe, @extschema@.eb_pause,
    @extschema@.eb_resume, @extschema@.eb_seek, eventbus.subscription_changed FROM PUBLIC;
