-- The registry of contracts: versions, compatibility, patterns, rights, errors.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(65);
SET LOCAL client_min_messages = warning;

-- registration and versions
SELECT is(eb_register_type('order.placed', '{"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}'), 1, 'first version');
SELECT is(eb_register_type('order.placed', '{"properties": {"total": {"type": "number"}}, "type": "object", "required": ["total"]}'), 1, 'the same schema again');
SELECT is(eb_register_type('order.placed', '{"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}, "note": {"type": "string"}}}'), 2, 'a compatible one');
SELECT throws_like($$SELECT eb_register_type('order.placed', '{"type": "object", "required": ["total", "note"], "properties": {"total": {"type": "number"}, "note": {"type": "string"}}}')$$,
                   '%not backward compatible with version 2%/required requires "note"%', 'a new required property');
SELECT throws_like($$SELECT eb_register_type('order.placed', '{"type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}, "note": {"type": "string"}}}')$$,
                   '%/properties/total/type is narrower%', 'a narrowed type');
SELECT throws_like($$SELECT eb_register_type('order.placed', '{"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}, "note": {"type": "string", "pattern": "^a"}}}')$$,
                   '%/properties/note/pattern changed%cannot be decided%', 'what cannot be decided is refused with that word');
SELECT is(eb_register_type('order.placed', '{"type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}}}', 'none'), 3, 'none checks nothing');
SELECT is((SELECT array_agg(version ORDER BY version) FROM eb_types WHERE type = 'order.placed'), '{1,2,3}', 'versions are kept');
SELECT is((SELECT compatibility FROM eb_types WHERE type = 'order.placed' AND version = 3), 'none', 'with their compatibility');
SELECT throws_ok($$SELECT eb_register_type('order.placed', 'true', 'sideways')$$, '22023', NULL, 'unknown compatibility');
SELECT throws_ok($$SELECT eb_register_type('order.placed', NULL)$$, '22023', NULL, 'NULL schema');
SELECT throws_ok($$SELECT eb_register_type(NULL, 'true')$$, '22023', NULL, 'NULL type');
SELECT throws_ok($$SELECT eb_register_type('Order', 'true')$$, '22023', NULL, 'malformed type');
SELECT throws_ok($$SELECT eb_register_type('order.*.>.x', 'true')$$, '22023', NULL, 'malformed pattern');
SELECT throws_ok($$SELECT eb_register_type('!order.*', 'true')$$, '22023', NULL, 'an exclusion is no contract');

-- what is no schema, or not a supported one
CREATE FUNCTION pg_temp.refused(schema jsonb, state text, message text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eb_register_type('bad.schema', schema);
    RETURN fail(message);
EXCEPTION WHEN OTHERS THEN
    RETURN CASE WHEN SQLSTATE = state AND SQLERRM LIKE message THEN ok(true, message)
           ELSE fail(message || ': ' || SQLSTATE || ' ' || SQLERRM) END;
END $$;
SELECT pg_temp.refused('12', '22023', '%must be an object or a boolean');
SELECT pg_temp.refused('{"type": "strange"}', '22023', '%/type must name JSON types');
SELECT pg_temp.refused('{"properties": {"a": {"minimum": "1"}}}', '22023', '%/properties/a/minimum must be a number');
SELECT pg_temp.refused('{"multipleOf": 0}', '22023', '%/multipleOf must be greater than 0');
SELECT pg_temp.refused('{"minLength": -1}', '22023', '%/minLength must not be negative');
SELECT pg_temp.refused('{"maxItems": 1.5}', '22023', '%/maxItems must be an integer');
SELECT pg_temp.refused('{"required": "a"}', '22023', '%/required must be an array of strings');
SELECT pg_temp.refused('{"allOf": []}', '22023', '%/allOf must be an array of schemas, not empty');
SELECT pg_temp.refused('{"items": [{}]}', '22023', '%/items must be a schema in draft 2020-12%');
SELECT pg_temp.refused('{"$ref": "#/$defs/none"}', '22023', '%/$ref refers to "#/$defs/none", which does not exist');
SELECT pg_temp.refused('{"$ref": "https://example.com/other.json"}', '0A000', '%remote reference%');
SELECT pg_temp.refused('{"$schema": "http://json-schema.org/draft-04/schema#"}', '0A000', '%dialect%');
SELECT pg_temp.refused('{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}', '22023', '%refers to itself without descending%');
SELECT pg_temp.refused('{"allOf": [{"$ref": "#"}]}', '22023', '%refers to itself without descending%');
SELECT pg_temp.refused('{"pattern": "(?i:a)"}', '22023', '%/pattern cannot be used: it has a group of an unknown kind');
SELECT pg_temp.refused('{"pattern": "(a)*\\1"}', '22023', '%back reference%');
SELECT pg_temp.refused('{"pattern": "\\p{Script=Greek}"}', '22023', '%general categories%');
SELECT pg_temp.refused('{"pattern": "(((a?){1,100}){1,100}){1,100}"}', '22023', '%repetitions%');
SELECT pg_temp.refused('{"pattern": "((?:(?<=))*){1,300}^"}', '22023', '%assertion%');
SELECT pg_temp.refused('{"pattern": "(?:(?:(?=)|a?){1,30}){1,30}b"}', '22023', '%assertion%');
SELECT is(eb_schema_valid('{"pattern": "^(?:(?:^|/)[a-z]*){1,3}(?:\\\\b|!)*$"}', '"/a/b!"'), true, 'a few repetitions of what may be an assertion are fine');
SELECT pg_temp.refused('{"pattern": "[z-a]"}', '22023', '%out of order');
SELECT is((SELECT count(*) FROM eb_types WHERE type = 'bad.schema'), 0::bigint, 'a refused schema leaves nothing');

-- violations
SELECT results_eq($$SELECT instance_path, schema_path, keyword, message FROM eb_validate('order.placed', '{"total": "x"}')$$,
                  $$VALUES ('/total', '/properties/total/type', 'type', 'must be integer')$$, 'eb_validate');
SELECT is_empty($$SELECT * FROM eb_validate('order.placed', '{"total": 5.0}')$$, '5.0 is an integer');
SELECT throws_ok($$SELECT * FROM eb_validate('no.contract', '1')$$, '42704', NULL, 'eb_validate of an unknown type');
SELECT throws_ok($$SELECT eb_emit('order.placed', '{}')$$, '23514', 'event "order.placed" breaks its contract "order.placed" version 3: payload: must have the property "total" [required]', 'eb_emit refuses');
SELECT lives_ok($$SELECT eb_emit('order.placed', '{"total": 5}')$$, 'eb_emit takes what fits');
SELECT throws_ok($$SELECT eb_emit('[{"type": "order.placed", "payload": {"total": 1}}, {"type": "order.placed", "payload": {}}]'::jsonb)$$, '23514', NULL, 'an array is all or nothing');
SELECT is((SELECT count(*) FROM eb_pending()), 1::bigint, 'nothing of it is left');

-- every violation, bounded in the error
SELECT is(eb_register_type('many.errors', '{"items": {"type": "string"}}'), 1, 'a schema for many errors');
SELECT is((SELECT count(*) FROM eb_validate('many.errors', (SELECT jsonb_agg(i) FROM generate_series(1, 5000) i))), 5000::bigint, 'eb_validate names them all');
CREATE FUNCTION pg_temp.detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text;
BEGIN
    EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
    RETURN d;
END $$;
SELECT is((SELECT count(*) FROM regexp_split_to_table(pg_temp.detail($$SELECT eb_emit('many.errors', (SELECT jsonb_agg(i) FROM generate_series(1, 5000) i))$$), '\n')), 21::bigint, 'the DETAIL names twenty');

-- topic-wide contracts: the most specific applies, a type's own wins
SELECT is(eb_register_type('ship.*', '{"required": ["one"]}'), 1, 'a pattern');
SELECT is(eb_register_type('ship.>', '{"required": ["any"]}'), 1, 'a wider one');
SELECT is(eb_register_type('ship.own', '{"required": ["own"]}'), 1, 'a type of its own');
SELECT alike((SELECT message FROM eb_validate('ship.sent', '{}')), '%"one"%', 'one token');
SELECT alike((SELECT message FROM eb_validate('ship.sent.twice', '{}')), '%"any"%', 'several tokens');
SELECT alike((SELECT message FROM eb_validate('ship.own', '{}')), '%"own"%', 'its own');
SELECT ok(eb_drop_type('ship.own'), 'dropped');
SELECT alike((SELECT message FROM eb_validate('ship.own', '{}')), '%"one"%', 'the pattern applies again');
SELECT ok(NOT eb_drop_type('ship.own'), 'nothing to drop');

-- unknown types
SET LOCAL eventbus.unknown_types = reject;
SELECT throws_ok($$SELECT eb_emit('no.contract', '1')$$, '23514', NULL, 'rejected');
SET LOCAL eventbus.unknown_types = allow;
SELECT lives_ok($$SELECT eb_emit('no.contract', '1')$$, 'allowed');

-- formats
SELECT ok(eb_schema_valid('{"format": "uuid"}', '"x"'), 'format is an annotation');
SET LOCAL eventbus.assert_formats = on;
SELECT ok(NOT eb_schema_valid('{"format": "uuid"}', '"x"'), 'unless asserted');

-- a rolled back registration is gone
SAVEPOINT s;
DO $$BEGIN PERFORM eb_register_type('rolled.back', 'false'); END$$;
ROLLBACK TO s;
SELECT lives_ok($$SELECT eb_emit('rolled.back', '1')$$, 'a rolled back contract binds nobody');

-- rights: EXECUTE is enough, and nothing less is
CREATE ROLE eb_test_contract;
GRANT USAGE ON SCHEMA public TO eb_test_contract;
SET LOCAL ROLE eb_test_contract;
SELECT throws_ok($$SELECT eb_register_type('a.b', 'true')$$, '42501', NULL, 'no right by default');
RESET ROLE;
GRANT EXECUTE ON FUNCTION eb_register_type, eb_validate TO eb_test_contract;
SET LOCAL ROLE eb_test_contract;
SELECT is(eb_register_type('a.b', '{"type": "object"}'), 1, 'EXECUTE suffices');
SELECT throws_ok($$SELECT count(*) FROM eventbus.type_version$$, '42501', NULL, 'the table stays closed');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
