-- Default privileges that somebody has set apply to what an extension makes, too: take them away again.
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN
        SELECT 'FUNCTION ' || p.oid::regprocedure AS object, a.grantee
        FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid, aclexplode(p.proacl) a
        WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
          AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'eventbus')
          AND a.grantee NOT IN (0, p.proowner, 'pg_monitor'::regrole)
        UNION
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass, a.grantee
        FROM pg_depend d JOIN pg_class c ON c.oid = d.objid, aclexplode(c.relacl) a
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
          AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'eventbus')
          AND (a.grantee NOT IN (0, c.relowner, 'pg_monitor'::regrole) OR (a.grantee = 0 AND c.relkind <> 'v'))
        UNION
        SELECT 'SCHEMA eventbus', a.grantee FROM pg_namespace n, aclexplode(n.nspacl) a
        WHERE n.nspname = 'eventbus' AND a.grantee <> n.nspowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', o.object,
                       CASE WHEN o.grantee = 0 THEN 'PUBLIC' ELSE o.grantee::regrole::text END);
    END LOOP;
END
$$;

-- The last statement of the installation: tells the launcher, at commit.

CREATE FUNCTION eventbus.announce() RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'eventbus_announce';
COMMENT ON FUNCTION eventbus.announce() IS 'tells the launcher, when the transaction commits, that this database wants a relay';
REVOKE ALL ON FUNCTION eventbus.announce() FROM PUBLIC;
SELECT eventbus.announce();
