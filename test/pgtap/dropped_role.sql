-- Grants of a role that was dropped: they give nobody anything and do not stay.
BEGIN;
SELECT plan(10);

CREATE ROLE eb_test_gone;
CREATE ROLE eb_test_stays;
SELECT eb_subscribe('dropped');
SELECT eb_grant('emit', 'order.*', 'eb_test_gone');
SELECT eb_grant('consume', 'dropped', 'eb_test_gone');
SELECT eb_grant('emit', 'stock.*', 'eb_test_stays');
SELECT throws_ok('DROP ROLE eb_test_gone', '2BP01', NULL, 'a role that holds something is not dropped just so');
DROP OWNED BY eb_test_gone;
DROP ROLE eb_test_gone;

SELECT is((SELECT count(*) FROM eventbus.privilege), 3::bigint, 'the rows are still there');
SELECT is((SELECT string_agg(concat_ws(' ', privilege, target, grantee), ',') FROM eb_grants),
    'emit stock.* eb_test_stays', 'eb_grants does not show them');
SELECT ok((SELECT count(*) = 1 FROM eventbus.privilege WHERE grantee IN (SELECT oid FROM pg_catalog.pg_roles)), 'one is of a role that exists');
SELECT is((SELECT extcondition[i] FROM pg_extension, generate_subscripts(extconfig, 1) i
           WHERE extname = 'eventbus' AND extconfig[i] = 'eventbus.privilege'::regclass),
    'WHERE grantee IN (SELECT oid FROM pg_catalog.pg_roles)', 'only that is dumped: an oid is another role''s elsewhere');

-- A new role of the same name has nothing of it.
CREATE ROLE eb_test_gone;
GRANT EXECUTE ON FUNCTION eb_emit(text, jsonb, text, uuid, uuid, uuid, jsonb, int, timestamptz), eb_fetch TO eb_test_gone;
SET LOCAL ROLE eb_test_gone;
SELECT throws_ok($$SELECT eb_emit('order.placed', '{}')$$, '42501', NULL, 'nothing to emit');
SELECT throws_ok($$SELECT * FROM eb_fetch('dropped')$$, '42501', NULL, 'nothing to consume');
RESET ROLE;
SET LOCAL ROLE eb_test_stays;
SELECT lives_ok($$SELECT eb_emit('stock.moved', '{}')$$, 'who stays may emit');
RESET ROLE;

SELECT eb_revoke('read', 'order.*', 'eb_test_stays');
SELECT is((SELECT count(*) FROM eventbus.privilege), 1::bigint, 'the next eb_revoke or eb_grant takes them away');
SELECT is((SELECT count(*) FROM eb_grants), 1::bigint, 'and leaves what is somebody''s');

SELECT * FROM finish();
ROLLBACK;
