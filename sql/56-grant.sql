-- Rights: who may emit, consume, subscribe and read.  docs/rights.md has the matrix.

CREATE TABLE eventbus.privilege (
    privilege       text        NOT NULL CHECK (privilege IN ('emit', 'consume', 'subscribe', 'read')),
    pattern         text,
    subscription_id integer,
    grantee         regrole     NOT NULL,
    grantor         regrole     NOT NULL,
    granted_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    CHECK ((privilege = 'consume') = (subscription_id IS NOT NULL)),
    CHECK ((privilege = 'consume') = (pattern IS NULL)),
    UNIQUE NULLS NOT DISTINCT (grantee, privilege, pattern, subscription_id)
);
COMMENT ON TABLE eventbus.privilege IS 'what eb_grant has granted: a topic pattern, or for consume a subscription';

CREATE FUNCTION eventbus.privilege_changed()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eventbus_privilege_changed';
COMMENT ON FUNCTION eventbus.privilege_changed() IS 'makes every session reload the privileges';
CREATE TRIGGER privilege_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eventbus.privilege
FOR EACH STATEMENT EXECUTE FUNCTION eventbus.privilege_changed();

-- The functions that a role needs for what it holds.
CREATE FUNCTION eventbus.privilege_functions(held text[])
RETURNS SETOF regprocedure LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure
    FROM (VALUES ('eb_emit', '{emit}'::text[]), ('eb_pending', '{emit}'), ('eb_validate', '{emit}'),
                 ('eb_fetch', '{consume,subscribe}'), ('eb_ack', '{consume,subscribe}'),
                 ('eb_nack', '{consume,subscribe}'), ('eb_extend', '{consume,subscribe}'),
                 ('eb_await', '{emit,consume,subscribe}'), ('eb_once', '{consume,subscribe}'),
                 ('eb_cloudevent', '{emit,consume,subscribe,read}'),
                 ('eb_read', '{subscribe,read}'), ('eb_get', '{subscribe,read}'),
                 ('eb_last_offset', '{subscribe,read}'), ('eb_offset_at', '{subscribe,read}'),
                 ('eb_subscribe', '{subscribe}'), ('eb_unsubscribe', '{subscribe}'),
                 ('eb_pause', '{subscribe}'), ('eb_resume', '{subscribe}'), ('eb_seek', '{subscribe}'),
                 ('eb_replay', '{subscribe}'), ('eb_lag_policy', '{subscribe}'), ('eb_dlq_replay', '{subscribe}'), ('eb_dlq_purge', '{subscribe}'),
                 ('eb_grant', '{subscribe}'), ('eb_revoke', '{subscribe}')) AS f(name, privileges)
    JOIN pg_extension e ON e.extname = 'eventbus'
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
        AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
    JOIN pg_proc p ON p.oid = d.objid AND p.proname = f.name AND p.pronamespace = e.extnamespace
    WHERE f.privileges && held
$$;
COMMENT ON FUNCTION eventbus.privilege_functions(text[]) IS 'the functions that a role needs which holds these privileges';

-- Called by eb_grant and eb_revoke, as the extension's owner, on behalf of caller.
CREATE FUNCTION eventbus.change_privilege(revoking boolean, privilege text, target text, grantee name, caller oid)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    role oid;
    owner oid;
    owner_of text := 'the extension';
    wanted eventbus.privilege;
    kept text[];
    changed boolean;
    function regprocedure;
BEGIN
    SELECT r.oid INTO role FROM pg_roles r WHERE r.rolname = grantee;
    IF role IS NULL THEN
        RAISE undefined_object USING MESSAGE = format('role "%s" does not exist', grantee),
            HINT = 'Create it first. To reach many, grant to a group role and make them its members.';
    END IF;
    -- Changes of one function's rights must not cross.
    LOCK TABLE eventbus.privilege IN SHARE ROW EXCLUSIVE MODE;
    -- What a role held that was dropped since.
    IF EXISTS (SELECT FROM eventbus.privilege p WHERE p.grantee NOT IN (SELECT r.oid FROM pg_roles r)) THEN
        DELETE FROM eventbus.privilege p WHERE p.grantee NOT IN (SELECT r.oid FROM pg_roles r);
    END IF;
    wanted.privilege := privilege;
    wanted.grantee := role;
    IF privilege = 'consume' THEN
        SELECT s.id, s.owner INTO wanted.subscription_id, owner FROM eventbus.subscription s WHERE s.name = target;
        IF wanted.subscription_id IS NULL THEN
            RAISE undefined_object USING MESSAGE = format('subscription "%s" does not exist', target),
                HINT = 'Create it with eb_subscribe.';
        END IF;
        owner_of := format('subscription "%s"', target);
    ELSE
        SELECT e.extowner INTO owner FROM pg_extension e WHERE e.extname = 'eventbus';
        wanted.pattern := target;
    END IF;
    IF NOT COALESCE(pg_has_role(caller, owner, 'USAGE'), false) THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be owner of %s', owner_of),
            HINT = format('Become a member of role "%s".', pg_get_userbyid(owner));
    END IF;

    IF NOT revoking THEN
        INSERT INTO eventbus.privilege (privilege, pattern, subscription_id, grantee, grantor)
        VALUES (privilege, wanted.pattern, wanted.subscription_id, role, caller)
        ON CONFLICT DO NOTHING;
        changed := FOUND;
        FOR function IN SELECT f FROM eventbus.privilege_functions(ARRAY[privilege]) f LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', function, grantee);
        END LOOP;
        IF NOT has_schema_privilege(role, '@extschema@', 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA @extschema@ TO %I', grantee);
        END IF;
        RETURN changed;
    END IF;

    DELETE FROM eventbus.privilege p
    WHERE p.privilege = wanted.privilege AND p.grantee = role
      AND p.pattern IS NOT DISTINCT FROM wanted.pattern
      AND p.subscription_id IS NOT DISTINCT FROM wanted.subscription_id;
    changed := FOUND;
    IF changed THEN
        kept := ARRAY(SELECT DISTINCT p.privilege FROM eventbus.privilege p WHERE p.grantee = role);
        FOR function IN SELECT f FROM eventbus.privilege_functions(ARRAY[privilege]) f
                        EXCEPT SELECT f FROM eventbus.privilege_functions(kept) f LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %I', function, grantee);
        END LOOP;
    END IF;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION eventbus.change_privilege(boolean, text, text, name, oid) IS 'grants or revokes, with EXECUTE on the functions it takes; false if nothing changed';

CREATE FUNCTION @extschema@.eb_grant(privilege text, target text, grantee name)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_grant';
COMMENT ON FUNCTION @extschema@.eb_grant(text, text, name) IS
    'lets a role emit, subscribe to or read the types of a topic pattern, or consume from a subscription; with EXECUTE on the functions that it takes';

CREATE FUNCTION @extschema@.eb_revoke(privilege text, target text, grantee name)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_revoke';
COMMENT ON FUNCTION @extschema@.eb_revoke(text, text, name) IS 'takes back what eb_grant gave; false if there was nothing';

CREATE VIEW @extschema@.eb_grants AS
SELECT p.privilege, COALESCE(p.pattern, s.name) AS target, pg_catalog.pg_get_userbyid(p.grantee) AS grantee,
       pg_catalog.pg_get_userbyid(p.grantor) AS grantor, p.granted_at
FROM eventbus.privilege p LEFT JOIN eventbus.subscription s ON s.id = p.subscription_id
WHERE p.grantee IN (SELECT r.oid FROM pg_catalog.pg_roles r);
COMMENT ON VIEW @extschema@.eb_grants IS 'what eb_grant has granted';

REVOKE ALL ON FUNCTION eventbus.privilege_changed(), eventbus.privilege_functions(text[]),
    eventbus.change_privilege(boolean, text, text, name, oid),
    @extschema@.eb_grant(text, text, name), @extschema@.eb_revoke(text, text, name) FROM PUBLIC;
GRANT SELECT ON @extschema@.eb_grants TO pg_monitor;
