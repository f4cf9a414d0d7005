-- Who may do what on the consuming side: EXECUTE on the functions, ownership of subscriptions, nothing on tables.
\ir common.psql
SELECT plan(73);
SELECT has_table_privilege('pg_monitor', 'pg_catalog.pg_class', 'SELECT') \g /dev/null
DO $$ BEGIN
    DROP ROLE IF EXISTS eb_test_consumer, eb_test_member, eb_test_other, eb_test_emitter;
    CREATE ROLE eb_test_consumer; CREATE ROLE eb_test_member IN ROLE eb_test_consumer; CREATE ROLE eb_test_other; CREATE ROLE eb_test_emitter;
END $$;

-- Without a grant nothing can be called, and no table be seen.
SELECT is_empty($$SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventbus'
    WHERE has_function_privilege('public', p.oid, 'EXECUTE') AND p.provolatile = 'v'$$, 'PUBLIC may not execute what can change something');
SELECT is_empty($$SELECT c.oid::regclass::text FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventbus', unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
    WHERE c.relkind IN ('r', 'p') AND has_table_privilege('public', c.oid, p)$$, 'nor see a table');
SELECT is_empty($$SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventbus'
    WHERE p.prosecdef AND NOT COALESCE(p.proconfig::text LIKE '%search_path=%', false)$$, 'a SECURITY DEFINER function fixes its search_path');
SELECT ok(NOT has_schema_privilege('public', 'eventbus', 'USAGE'), 'schema eventbus is closed');

SET ROLE eb_test_other;
SELECT throws_ok(q, '42501', NULL, q) FROM (VALUES ('SELECT eb_subscribe(''x'')'), ('SELECT * FROM eb_fetch(''x'')'), ('SELECT eb_ack(1)'), ('SELECT eb_nack(1)'),
    ('SELECT eb_extend(1)'), ('SELECT eb_replay(''x'', 1)'), ('SELECT eb_seek(''x'', 1)'), ('SELECT eb_pause(''x'')'), ('SELECT eb_resume(''x'')'),
    ('SELECT eb_unsubscribe(''x'')'), ('SELECT * FROM eb_read(1)'), ('SELECT eb_get(gen_random_uuid())'), ('SELECT eb_last_offset()'),
    ('SELECT eb_offset_at(now())'), ('SELECT eb_dead_letter(''j'', ''t'', ''1'', ''MaxRetries'')'), ('SELECT eb_dlq_replay(''{1}'')'),
    ('SELECT eb_dlq_purge(''{1}'')'), ('SELECT eb_relay_run()'), ('SELECT * FROM eventbus.event'), ('SELECT * FROM eventbus.delivery')) AS v(q);
SELECT lives_ok('SELECT * FROM eb_reasons', 'the reasons are no secret');
RESET ROLE;

-- A consumer needs EXECUTE and nothing else; no right on any table.
GRANT EXECUTE ON FUNCTION eb_subscribe, eb_unsubscribe, eb_pause, eb_resume, eb_seek, eb_fetch, eb_ack, eb_nack, eb_extend, eb_replay, eb_read, eb_last_offset,
    eb_dead_letter, eb_dlq_source, eb_dlq_replay, eb_dlq_purge TO eb_test_consumer, eb_test_other;
SET ROLE eb_test_consumer;
SELECT lives_ok($$SELECT eb_subscribe('mine', '{a.*}', max_attempts => 1)$$, 'a consumer subscribes');
RESET ROLE;
SELECT is((SELECT owner::text FROM eventbus.subscription), 'eb_test_consumer', 'and owns it');
SELECT eb_emit('a.b', to_jsonb(i)) FROM generate_series(1, 4) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SET ROLE eb_test_consumer;
CREATE TEMP TABLE f AS SELECT * FROM eb_fetch('mine', 3);
GRANT SELECT ON f TO PUBLIC;
SELECT is((SELECT count(*) FROM f), 3::bigint, 'fetches');
SELECT receipt AS r FROM f LIMIT 1 \gset
SELECT is(eb_ack(:r, ARRAY(SELECT event_id FROM f WHERE payload = '1')), 1, 'acks');
SELECT ok(eb_extend(:r) > now(), 'extends');
SELECT is(eb_nack(:r, ARRAY(SELECT event_id FROM f WHERE payload = '2')), 1, 'buries');
SELECT is(eb_replay('mine', 1, 1), 1::bigint, 'replays history');
SELECT is(eb_dlq_replay(subscription => 'mine'), 1::bigint, 'and letters');
SELECT lives_ok($$SELECT eb_pause('mine'), eb_resume('mine')$$, 'pauses and resumes');
SELECT throws_ok('SELECT * FROM eventbus.dead_letter', '42501', NULL, 'and sees no table');
SELECT is(current_user::text, 'eb_test_consumer', 'and stays who it is');
RESET ROLE;

-- A member of the owner may do the same, another role nothing, whatever it holds.
SET ROLE eb_test_member;
SELECT ok(eb_extend(:r) > now(), 'a member of the owner may use its receipts');
SELECT is((SELECT count(*) FROM eb_fetch('mine', 1)), 1::bigint, 'and fetch');
RESET ROLE;
SET ROLE eb_test_other;
SELECT throws_ok(q, '42501', NULL, 'another: ' || q) FROM (VALUES ('SELECT * FROM eb_fetch(''mine'')'), ('SELECT * FROM eb_fetch(''mine'', wait => ''5 s'')'),
    ('SELECT eb_ack(' || :r || ')'), ('SELECT eb_nack(' || :r || ')'), ('SELECT eb_extend(' || :r || ')'), ('SELECT eb_subscribe(''mine'')'),
    ('SELECT eb_unsubscribe(''mine'')'), ('SELECT eb_pause(''mine'')'), ('SELECT eb_resume(''mine'')'), ('SELECT eb_seek(''mine'', 1)'),
    ('SELECT eb_replay(''mine'', 1)'), ('SELECT eb_replay(''mine'', 1, dry_run => true)'), ('SELECT eb_dlq_replay(subscription => ''mine'')')) AS v(q);
RESET ROLE;

-- Letters: by what else they are selected, the right to them counts.
SET ROLE eb_test_consumer;
SELECT eb_nack(receipt) FROM (SELECT DISTINCT receipt FROM eb_fetch('mine')) r \g /dev/null
RESET ROLE;
SELECT ok(count(*) > 0, 'there are letters') FROM eventbus.dead_letter;
SET ROLE eb_test_other;
SELECT throws_ok(q, '42501', NULL, 'another: ' || q) FROM (VALUES ('SELECT eb_dlq_replay(type => ''a.b'')'), ('SELECT eb_dlq_replay(type => ''a.b'', dry_run => true)'),
    ('SELECT eb_dlq_replay(ids => ARRAY(SELECT generate_series(1, 100)::bigint))'), ('SELECT eb_dlq_purge(older_than => ''0'')'),
    ('SELECT eb_dlq_purge(subscription => ''mine'')'), ('SELECT eb_dlq_purge(source => ''eventbus'')')) AS v(q);
SELECT lives_ok($$SELECT eb_dead_letter('jobs', 't', '1', 'MaxRetries')$$, 'a foreign letter may come from anybody with EXECUTE');
RESET ROLE;

-- Sources: who registered one has the right to its letters, and the function runs as who replays.
GRANT USAGE ON SCHEMA eventbus TO eb_test_other, eb_test_consumer;
GRANT CREATE ON SCHEMA public TO eb_test_other;
CREATE TABLE who (name text);
GRANT INSERT ON who TO PUBLIC;
SET ROLE eb_test_other;
CREATE FUNCTION put_back(l eventbus.dead_letter) RETURNS void LANGUAGE sql AS 'INSERT INTO public.who VALUES (current_user)';
SELECT lives_ok($$SELECT eb_dlq_source('jobs', 'put_back(eventbus.dead_letter)')$$, 'a source is registered');
RESET ROLE;
SET ROLE eb_test_consumer;
SELECT throws_ok($$SELECT eb_dlq_source('jobs', NULL)$$, '42501', NULL, 'which is not another''s to change');
SELECT throws_ok($$SELECT eb_dlq_replay(source => 'jobs')$$, '42501', NULL, 'nor to replay');
SELECT throws_ok($$SELECT eb_dlq_purge(source => 'jobs')$$, '42501', NULL, 'nor to purge');
RESET ROLE;
SET ROLE eb_test_other;
SELECT is(eb_dlq_replay(source => 'jobs'), 1::bigint, 'its owner replays');
RESET ROLE;
SELECT is((SELECT string_agg(name, ' ') FROM who), 'eb_test_other', 'as itself');
SELECT eb_dead_letter('jobs', 't', '1', 'MaxRetries') \g /dev/null
REVOKE EXECUTE ON FUNCTION put_back FROM PUBLIC, eb_test_other;
SET ROLE eb_test_other;
SELECT throws_ok($$SELECT eb_dlq_replay(source => 'jobs')$$, '42501', NULL, 'it needs EXECUTE on the function');
SELECT is(current_user::text, 'eb_test_other', 'and is who it was after an error');
SELECT is(eb_dlq_purge(source => 'jobs'), 1::bigint, 'and purges');
RESET ROLE;

-- A superuser may do everything; an owner that is gone leaves its subscription to him.
SELECT ok(eb_extend(:r) IS NOT NULL, 'a superuser may use any receipt') FROM (SELECT receipt AS r FROM eb_fetch('mine', wait => '1 ms')) x LIMIT 0;
DROP FUNCTION put_back(eventbus.dead_letter);
REVOKE ALL ON SCHEMA eventbus FROM eb_test_other, eb_test_consumer;
SELECT lives_ok($$SELECT eb_dlq_purge(source => 'eventbus')$$, 'a superuser purges all');
DROP OWNED BY eb_test_consumer, eb_test_other;
SELECT lives_ok('DROP ROLE eb_test_consumer, eb_test_member, eb_test_other, eb_test_emitter', 'a role that owns a subscription can be dropped');
SELECT eb_emit('a.b', '9') \g /dev/null
SELECT lives_ok($$SELECT * FROM eb_fetch('mine', wait => '10 s')$$, 'and the subscription lives on');
SELECT pg_temp.refused($$SELECT eb_fetch('none')$$, '42704', '%', 'as does the session');
SELECT is(eb_unsubscribe('mine'), true, 'until somebody ends it');
SELECT * FROM finish();
