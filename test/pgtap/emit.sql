-- eb_emit in both forms: arguments, inheritance, errors, savepoints, eb_pending.
BEGIN;
SELECT plan(65);

CREATE TEMP TABLE id (name text PRIMARY KEY, id uuid);
CREATE FUNCTION pg_temp.v7(at timestamptz DEFAULT clock_timestamp()) RETURNS uuid LANGUAGE sql AS
$$ SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' ||
           substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid $$;
CREATE FUNCTION pg_temp.pending() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM eb_pending()';

-- The ids are ours, version 7, of now, and rise.
INSERT INTO id SELECT 'first', eb_emit('emit.first', '{"a": 1}');
SELECT is((SELECT event_id FROM eb_pending()), (SELECT id FROM id), 'eb_pending has the id that eb_emit returned');
SELECT matches((SELECT id::text FROM id), '^.{8}-.{4}-7.{3}-[89ab].{3}-.{12}$', 'it is a version 7 UUID');
SELECT ok((SELECT abs(extract(epoch FROM emitted_at - clock_timestamp())) < 60 FROM eb_pending()), 'its time is now');
SELECT is((SELECT "offset" FROM eb_pending()), NULL, 'there is no offset before the commit');
SELECT is((SELECT correlation_id FROM eb_pending()), (SELECT id FROM id), 'an event correlates with itself');
SELECT is((SELECT causation_id FROM eb_pending()), NULL, 'and has no cause');
SELECT is((SELECT count(*) FROM eventbus.event WHERE type = 'emit.first'), 0::bigint, 'nothing is in the log');
SELECT ok((SELECT bool_and(a < b) FROM (SELECT a, lead(a) OVER (ORDER BY n) AS b FROM
    (SELECT n, eb_emit('emit.rise', '1') AS a FROM generate_series(1, 1000) n) x) y WHERE b IS NOT NULL), 'ids rise');
SELECT is(pg_temp.pending(), 1001::bigint, 'a set is emitted row by row');

-- Every argument, by name.
INSERT INTO id SELECT 'given', pg_temp.v7();
SELECT is(eb_emit(type => 'emit.all', payload => '{"x": [1, 2]}', aggregate_id => 'order-7', event_id => id,
    correlation_id => '0190163d-8694-739b-aea5-966c26f8ad91', causation_id => '0190163d-8694-739b-aea5-966c26f8ad92',
    headers => '{"tenant": "acme"}', priority => 9, deliver_at => '2100-01-01 00:00+00'), id, 'a given id is returned')
FROM id WHERE name = 'given';
SELECT results_eq($$ SELECT type, aggregate_id, payload, correlation_id, causation_id, headers, priority, deliver_at
                     FROM eb_pending() WHERE type = 'emit.all' $$,
    $$ VALUES ('emit.all', 'order-7', '{"x": [1, 2]}'::jsonb, '0190163d-8694-739b-aea5-966c26f8ad91'::uuid,
               '0190163d-8694-739b-aea5-966c26f8ad92'::uuid, '{"tenant": "acme"}'::jsonb, 9::smallint,
               '2100-01-01 00:00+00'::timestamptz) $$, 'every argument arrives');
SELECT lives_ok($$ SELECT eb_emit('emit.null', 'null', NULL, NULL, NULL, NULL, NULL, NULL, NULL) $$, 'NULL means default');
SELECT is((SELECT priority FROM eb_pending() WHERE type = 'emit.null'), 0::smallint, 'priority 0');
SELECT is((SELECT payload FROM eb_pending() WHERE type = 'emit.null'), 'null', 'JSON null is a payload');

-- The JSON form.
SELECT is(cardinality(eb_emit('{"type": "emit.json", "payload": {"n": 1}, "aggregate_id": "j", "priority": 3,
    "headers": {"h": "v"}, "deliver_at": "2100-01-01T00:00:00Z"}')), 1, 'one object, one id');
SELECT results_eq($$ SELECT aggregate_id, payload, headers, priority, deliver_at FROM eb_pending() WHERE type = 'emit.json' $$,
    $$ VALUES ('j', '{"n": 1}'::jsonb, '{"h": "v"}'::jsonb, 3::smallint, '2100-01-01 00:00+00'::timestamptz) $$, 'its keys arrive');
SELECT is(eb_emit('[]'), '{}'::uuid[], 'an empty array emits nothing');
SELECT results_eq($$ SELECT unnest(eb_emit('[{"type": "emit.array", "payload": 1}, {"type": "emit.array", "payload": 2}]')) $$,
    $$ SELECT event_id FROM eb_pending() WHERE type = 'emit.array' ORDER BY payload $$, 'ids come in input order');
SELECT throws_ok($$ SELECT eb_emit('[{"type": "emit.bad", "payload": 1}, {"type": "Bad", "payload": 2}]') $$, '22023', NULL,
    'one bad element refuses the array');
SELECT is((SELECT count(*) FROM eb_pending() WHERE type = 'emit.bad'), 0::bigint, 'and nothing of it is left');
SELECT lives_ok($$ SELECT eb_emit('{"specversion": "1.0", "id": "1", "source": "/s", "type": "emit.cloud", "data": {"a": 1}}') $$,
    'a CloudEvent is understood');
SELECT is((SELECT payload FROM eb_pending() WHERE type = 'emit.cloud'), '{"a": 1}', 'its data is the payload');

-- Inheritance.
SET LOCAL eventbus.correlation_id = '0190163d-8694-739b-aea5-966c26f8ad93';
SET LOCAL eventbus.causation_id = '0190163d-8694-739b-aea5-966c26f8ad94';
SET LOCAL eventbus.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
SET LOCAL eventbus.tracestate = 'vendor=1';
SELECT eb_emit('emit.inherit', '1');
SELECT results_eq($$ SELECT correlation_id, causation_id, headers FROM eb_pending() WHERE type = 'emit.inherit' $$,
    $$ VALUES ('0190163d-8694-739b-aea5-966c26f8ad93'::uuid, '0190163d-8694-739b-aea5-966c26f8ad94'::uuid,
       '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=1"}'::jsonb) $$,
    'the settings are inherited');
SELECT eb_emit('emit.own', '1', headers => '{"traceparent": "00-11111111111111111111111111111111-2222222222222222-00"}');
SELECT is((SELECT headers FROM eb_pending() WHERE type = 'emit.own'),
    '{"traceparent": "00-11111111111111111111111111111111-2222222222222222-00"}', 'an own trace context goes first');
SELECT eb_emit('emit.mended', '1', headers => '{"traceparent": "junk", "tracestate": "a=b", "x": "y"}');
SELECT is((SELECT headers FROM eb_pending() WHERE type = 'emit.mended'), '{"x": "y", "tracestate": "vendor=1",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}', 'an invalid one gives way');
SET LOCAL eventbus.traceparent = 'junk';
SELECT eb_emit('emit.junk', '1', headers => '{"traceparent": "junk", "tracestate": "a=b"}');
SELECT is((SELECT headers FROM eb_pending() WHERE type = 'emit.junk'), NULL, 'and is dropped where there is no other');
SET LOCAL eventbus.correlation_id = 'no uuid';
SELECT throws_ok($$ SELECT eb_emit('emit.x', '1') $$, '22023', NULL, 'a malformed correlation setting is an error');
SET LOCAL eventbus.correlation_id = '';

-- Bad input.
SELECT throws_ok($$ SELECT eb_emit(NULL, '1') $$, '22023', 'event type must not be NULL');
SELECT throws_ok($$ SELECT eb_emit('a.b', NULL) $$, '22023', 'payload must not be NULL');
SELECT throws_ok($$ SELECT eb_emit(NULL::jsonb) $$, '22023', 'events must not be NULL');
SELECT throws_ok(format($$ SELECT eb_emit(%L, '1') $$, type), '22023', NULL, 'bad type: ' || left(type, 20))
FROM unnest(ARRAY['', 'one', 'Upper.case', 'a..b', '.a', 'a.', 'a b.c', 'a.*', 'ä.b', 'a.' || repeat('x', 300),
                  'a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q']) AS type;
SELECT lives_ok($$ SELECT eb_emit('a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p', '1') $$, '16 tokens are fine');
SELECT lives_ok(format($$ SELECT eb_emit(%L, '1') $$, 'a.' || repeat('x', 253)), '255 bytes are fine');
SELECT throws_ok($$ SELECT eb_emit('a.b', '1', '') $$, '22023', 'aggregate_id must not be empty');
SELECT throws_ok($$ SELECT eb_emit('a.b', '1', repeat('x', 1025)) $$, '22023', 'aggregate_id is longer than 1024 bytes');
SELECT throws_ok($$ SELECT eb_emit('a.b', '1', priority => 10) $$, '22023', 'priority 10 is out of range');
SELECT throws_ok($$ SELECT eb_emit('a.b', '1', priority => -1) $$, '22023', 'priority -1 is out of range');
SELECT throws_ok($$ SELECT eb_emit('a.b', '1', headers => '[]') $$, '22023', 'headers must be a JSON object of strings');
SELECT throws_ok($$ SELECT eb_emit('a.b', '1', headers => '{"a": 1}') $$, '22023', 'headers must be a JSON object of strings');
SELECT throws_ok($$ SELECT eb_emit('a.b', '1', deliver_at => 'infinity') $$, '22023', 'deliver_at must be finite');
SELECT throws_ok($$ SELECT eb_emit('{"type": "a.b", "payload": 1, "colour": "red"}') $$, '22023',
    'malformed envelope: unknown key "colour"');
SELECT throws_ok($$ SELECT eb_emit('{"type": 1, "payload": 1}') $$, '22023', 'malformed envelope: "type" must be a string');
SELECT throws_ok($$ SELECT eb_emit('{"type": "a.b", "payload": 1, "priority": 1.5}') $$, '22023', NULL, 'half a priority');
SELECT throws_ok($$ SELECT eb_emit('{"type": "a.b", "payload": 1, "event_id": "zz"}') $$, '22P02', NULL, 'a bad id');
SELECT throws_ok($$ SELECT eb_emit('{"type": "a.b"}') $$, '22023', 'payload must not be NULL');
SELECT throws_ok($$ SELECT eb_emit('[7]') $$, '22023', 'malformed envelope: not a JSON object');
SELECT throws_ok($$ SELECT eb_emit('"text"') $$, '22023', 'malformed envelope: not a JSON object');

-- Ids that are refused.
SELECT throws_ok($$ SELECT eb_emit('a.b', '1', event_id => 'f47ac10b-58cc-4372-a567-0e02b2c3d479') $$, '22023',
    'event_id is not a version 7 UUID');
SELECT throws_ok(format($$ SELECT eb_emit('a.b', '1', event_id => %L) $$, pg_temp.v7(now() - interval '1 year')), '22023',
    'event_id is older than eventbus.dedup_window');
SELECT throws_ok(format($$ SELECT eb_emit('a.b', '1', event_id => %L) $$, pg_temp.v7(now() + interval '1 hour')), '22023',
    'event_id is more than 5 minutes in the future');

-- Duplicates within the transaction.
SELECT is(eb_emit('emit.again', '1', event_id => id), id, 'a repeated id is returned') FROM id WHERE name = 'given';
SELECT is(eb_emit('emit.again', '1', event_id => id), id, 'a generated one as well') FROM id WHERE name = 'first';
SELECT is((SELECT count(*) FROM eb_pending() WHERE type = 'emit.again'), 0::bigint, 'and neither is emitted again');
SET LOCAL eventbus.on_duplicate = error;
SELECT throws_ok(format($$ SELECT eb_emit('a.b', '1', event_id => %L) $$, id), '23505', NULL, 'or it is an error')
FROM id WHERE name = 'given';

-- Rights.
CREATE ROLE emit_nobody;
SELECT ok(NOT has_function_privilege('emit_nobody', 'eb_emit(jsonb)', 'EXECUTE'), 'emitting is not for everybody');

SELECT * FROM finish();
ROLLBACK;
