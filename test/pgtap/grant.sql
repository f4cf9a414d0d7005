-- Rights: the matrix role x function x table, eb_grant and eb_revoke.
BEGIN;
SELECT no_plan();

-- The catalog's side of it.
CREATE VIEW ours AS
SELECT p.oid, p.proname::text AS name, p.prosecdef, p.proconfig, p.provolatile, p.pronamespace::regnamespace::text AS schema
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'eventbus');
GRANT SELECT ON ours TO PUBLIC;

SELECT is_empty($$SELECT oid::regprocedure FROM ours WHERE has_function_privilege('public', oid, 'EXECUTE')
    AND provolatile = 'v'$$, 'PUBLIC may execute nothing that changes something');
SELECT is_empty($$SELECT oid::regprocedure FROM ours WHERE schema = 'eventbus' AND has_function_privilege('public', oid, 'EXECUTE')$$,
    'nor anything internal');
SELECT is_empty($$SELECT oid::regprocedure FROM ours WHERE obj_description(oid, 'pg_proc') IS NULL$$, 'every function has a comment');
SELECT is_empty($$SELECT oid::regprocedure FROM ours WHERE prosecdef AND NOT (proconfig @> ARRAY['search_path=pg_catalog, pg_temp'])$$,
    'SECURITY DEFINER functions have a pinned search_path that ends in pg_temp');
SELECT is_empty($$SELECT p.oid::regprocedure FROM ours o JOIN pg_proc p USING (oid) JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
      AND NOT COALESCE(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)$$,
    'no function of ours takes operators from the caller''s search_path');
SELECT is_empty($$SELECT c.oid::regclass, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.relnamespace = 'eventbus'::regnamespace AND a.grantee <> c.relowner$$, 'nobody has a right on a table in schema eventbus');
SELECT is_empty($$SELECT 1 FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'eventbus' AND a.grantee <> n.nspowner$$,
    'nor on the schema');
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'eventbus'::regnamespace AND (relrowsecurity OR relforcerowsecurity)$$,
    'no row-level security by accident');
SELECT is_empty($$SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE c.relnamespace = 'eventbus'::regnamespace AND p.pronamespace <> 'eventbus'::regnamespace AND NOT t.tgisinternal$$,
    'no trigger but ours');

-- The roles of the matrix.
CREATE ROLE eb_g_emitter;
CREATE ROLE eb_g_owner;
CREATE ROLE eb_g_consumer;
CREATE ROLE eb_g_reader;
CREATE ROLE eb_g_nobody;
CREATE ROLE eb_g_team;
CREATE ROLE eb_g_member IN ROLE eb_g_team;

SELECT lives_ok($$SELECT eb_grant('emit', 'order.*', 'eb_g_emitter')$$, 'emit is granted');
SELECT lives_ok($$SELECT eb_grant('subscribe', 'order.>', 'eb_g_owner')$$, 'subscribe is granted');
SELECT lives_ok($$SELECT eb_grant('read', 'order.placed', 'eb_g_reader')$$, 'read is granted');

SET ROLE eb_g_owner;
SELECT lives_ok($$SELECT eb_subscribe('g_orders', '{order.*,!order.test}')$$, 'a subscriber subscribes within its pattern');
SELECT lives_ok($$SELECT eb_grant('consume', 'g_orders', 'eb_g_consumer')$$, 'and grants consuming from it');
SELECT throws_ok($$SELECT eb_grant('emit', 'order.*', 'eb_g_nobody')$$, '42501', NULL, 'but not emitting');
SELECT throws_ok($$SELECT eb_subscribe('g_all')$$, '42501', NULL, 'it cannot subscribe to everything');
SELECT throws_ok($$SELECT eb_subscribe('g_all', '{order.*,stock.moved}')$$, '42501', NULL, 'nor beside its pattern');
SELECT throws_ok($$SELECT * FROM eb_read(1)$$, '42501', NULL, 'nor read everything');
SELECT lives_ok($$SELECT * FROM eb_read(1, topics => '{order.placed}')$$, 'but what it may subscribe to');
RESET ROLE;

CREATE TEMP TABLE matrix (role text, functions text[]);
INSERT INTO matrix VALUES
    ('eb_g_emitter', '{eb_await,eb_cloudevent,eb_emit,eb_pending,eb_validate}'),
    ('eb_g_consumer', '{eb_ack,eb_await,eb_cloudevent,eb_extend,eb_fetch,eb_nack,eb_once}'),
    ('eb_g_reader', '{eb_cloudevent,eb_get,eb_last_offset,eb_offset_at,eb_read}'),
    ('eb_g_owner', '{eb_ack,eb_await,eb_cloudevent,eb_dlq_purge,eb_dlq_replay,eb_extend,eb_fetch,eb_get,eb_grant,eb_lag_policy,eb_last_offset,
                     eb_nack,eb_offset_at,eb_once,eb_pause,eb_read,eb_replay,eb_resume,eb_revoke,eb_seek,eb_subscribe,eb_unsubscribe}'),
    ('eb_g_nobody', '{}');
-- What everybody may execute is harmless and read-only; it is left out here.
SELECT is(ARRAY(SELECT DISTINCT o.name FROM ours o WHERE has_function_privilege(m.role, o.oid, 'EXECUTE')
              AND NOT has_function_privilege('public', o.oid, 'EXECUTE') ORDER BY 1),
          ARRAY(SELECT f FROM unnest(m.functions) f WHERE EXISTS (SELECT FROM ours o WHERE o.name = f
              AND NOT has_function_privilege('public', o.oid, 'EXECUTE')) ORDER BY 1),
          m.role || ' may execute what the matrix says')
FROM matrix m;
SELECT is_empty($$SELECT m.role, c.oid::regclass, p FROM matrix m, pg_class c,
        unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
    WHERE c.relnamespace = 'eventbus'::regnamespace AND c.relkind IN ('r', 'p') AND has_table_privilege(m.role, c.oid, p)$$,
    'no role of the matrix has a right on a table');
SELECT is_empty($$SELECT m.role, c.oid::regclass FROM matrix m, pg_class c WHERE c.relnamespace = 'eventbus'::regnamespace
    AND c.relkind = 'S' AND has_sequence_privilege(m.role, c.oid, 'USAGE,SELECT,UPDATE')$$, 'nor on a sequence');

-- Emitting.
SET ROLE eb_g_emitter;
SELECT lives_ok($$SELECT eb_emit('order.placed', '{}')$$, 'an emitter emits within its pattern');
SELECT throws_ok($$SELECT eb_emit('stock.moved', '{}')$$, '42501', 'permission denied to emit events of type "stock.moved"', 'not beside it');
SELECT throws_ok($$SELECT eb_emit('[{"type": "order.placed", "payload": {}}, {"type": "stock.moved", "payload": {}}]')$$, '42501', NULL, 'nor in an array');
SELECT throws_ok($$SELECT eb_emit('order.placed.late', '{}')$$, '42501', NULL, '* is one token');
SELECT throws_ok($$SELECT * FROM eb_fetch('g_orders')$$, '42501', NULL, 'an emitter cannot fetch');
SELECT throws_ok($$SELECT * FROM eventbus.event$$, '42501', NULL, 'nor look at the log');
SELECT throws_ok($$SELECT eb_grant('emit', '>', 'eb_g_emitter')$$, '42501', NULL, 'nor grant');
SET ROLE eb_g_nobody;
SELECT throws_ok($$SELECT eb_emit('order.placed', '{}')$$, '42501', NULL, 'nobody cannot emit');
RESET ROLE;
SELECT lives_ok($$SELECT eb_emit('stock.moved', '{}')$$, 'the extension''s owner emits whatever it likes');

-- EXECUTE alone is not enough once there are patterns; membership counts.
GRANT EXECUTE ON FUNCTION eb_emit(jsonb) TO eb_g_member;
SET ROLE eb_g_member;
SELECT throws_ok($$SELECT eb_emit('{"type": "order.placed", "payload": {}}')$$, '42501', NULL, 'EXECUTE alone is not enough');
RESET ROLE;
SELECT eb_grant('emit', 'order.placed', 'eb_g_team');
SET ROLE eb_g_member;
SELECT lives_ok($$SELECT eb_emit('{"type": "order.placed", "payload": {}}')$$, 'a member of a granted role emits');
RESET ROLE;
REVOKE eb_g_team FROM eb_g_member;
SET ROLE eb_g_member;
SELECT throws_ok($$SELECT eb_emit('{"type": "order.placed", "payload": {}}')$$, '42501', NULL, 'and not when it is none any more');
RESET ROLE;

-- Consuming: a subscription's owner, who was granted, and nobody else.
SELECT throws_ok($$SELECT eb_grant('consume', 'g_none', 'eb_g_consumer')$$, '42704', NULL, 'there must be such a subscription');
SELECT eb_subscribe('g_mine');
SET ROLE eb_g_consumer;
SELECT lives_ok($$SELECT * FROM eb_fetch('g_orders')$$, 'a granted consumer fetches');
SELECT throws_ok($$SELECT * FROM eb_fetch('g_mine')$$, '42501', NULL, 'only from what was granted');
SELECT throws_ok($$SELECT eb_seek('g_orders', 1)$$, '42501', NULL, 'and changes nothing');
SELECT throws_ok($$SELECT eb_replay('g_orders', 1)$$, '42501', NULL, 'nor replays');
SET ROLE eb_g_owner;
SELECT throws_ok($$SELECT eb_replay('g_mine', 1, dry_run => true)$$, '42501', NULL, 'an owner replays to his own only, even dry');
SELECT throws_ok($$SELECT eb_grant('consume', 'g_mine', 'eb_g_owner')$$, '42501', NULL, 'and grants his own only');
SELECT is(eb_revoke('consume', 'g_orders', 'eb_g_consumer'), true, 'he revokes');
SELECT is(eb_revoke('consume', 'g_orders', 'eb_g_consumer'), false, 'once');
SELECT lives_ok($$SELECT eb_grant('consume', 'g_orders', 'eb_g_reader')$$, 'and grants to another');
RESET ROLE;
SELECT is_empty($$SELECT oid::regprocedure FROM ours WHERE has_function_privilege('eb_g_consumer', oid, 'EXECUTE')
    AND NOT has_function_privilege('public', oid, 'EXECUTE')$$, 'with the last grant EXECUTE goes, too');
SELECT eb_unsubscribe('g_orders');
SELECT eb_subscribe('g_orders');
SELECT is((SELECT count(*) FROM eb_grants WHERE privilege = 'consume'), 0::bigint, 'grants end with their subscription');
SET ROLE eb_g_reader;
SELECT throws_ok($$SELECT * FROM eb_fetch('g_orders')$$, '42501', NULL, 'and do not come back with its name');
RESET ROLE;

-- Bad input.
SELECT throws_ok($$SELECT eb_grant('own', '>', 'eb_g_owner')$$, '22023', NULL, 'an unknown privilege');
SELECT throws_ok($$SELECT eb_grant('emit', 'Order', 'eb_g_owner')$$, '22023', NULL, 'a malformed pattern');
SELECT throws_ok($$SELECT eb_grant('emit', '!order.*', 'eb_g_owner')$$, '22023', NULL, 'a pattern that excludes');
SELECT throws_ok($$SELECT eb_grant('emit', NULL, 'eb_g_owner')$$, '22023', NULL, 'NULL');
SELECT throws_ok($$SELECT eb_grant('emit', '>', 'eb_g_no_such_role')$$, '42704', NULL, 'an unknown role');
SELECT throws_ok($$SELECT eb_grant('emit', '>', 'public')$$, '22023', NULL, 'PUBLIC');

-- Without any grant left, EXECUTE is all it takes.
SELECT eb_revoke('emit', 'order.*', 'eb_g_emitter');
SELECT eb_revoke('emit', 'order.placed', 'eb_g_team');
GRANT EXECUTE ON FUNCTION eb_emit(jsonb) TO eb_g_nobody;
SET ROLE eb_g_nobody;
SELECT lives_ok($$SELECT eb_emit('{"type": "order.placed", "payload": {}}')$$, 'patterns restrict only once there are some');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
