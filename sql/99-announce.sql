-- The last statement of the installation: tells the launcher, at commit.

CREATE FUNCTION eventbus.announce() RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'eventbus_announce';
COMMENT ON FUNCTION eventbus.announce() IS 'tells the launcher, when the transaction commits, that this database wants a relay';
REVOKE ALL ON FUNCTION eventbus.announce() FROM PUBLIC;
SELECT eventbus.announce();
