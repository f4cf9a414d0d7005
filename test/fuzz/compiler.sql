-- Random mutations of schemas: keys and values are swapped between places, numbers and strings
-- changed.  Every outcome but a crash or an internal error (XX000) is fine.
CREATE EXTENSION eventbus;
SET client_min_messages = error;
SELECT setseed((:seed % 10000) / 10000.0), set_config('fuzz.rounds', :'rounds', false) \g /dev/null

CREATE TEMP TABLE seed (id int GENERATED ALWAYS AS IDENTITY, schema jsonb);
INSERT INTO seed (schema) VALUES
('{"type": ["object", "null"], "required": ["a"], "properties": {"a": {"type": "string", "minLength": 1, "pattern": "^(?<x>a|b)\\d+$"}, "b": {"$ref": "#/$defs/n"}}, "patternProperties": {"^x-": true}, "additionalProperties": false, "$defs": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}}'),
('{"$id": "https://example.com/root", "$dynamicAnchor": "t", "type": "array", "prefixItems": [{"const": {"k": [1, 2.0]}}, {"enum": ["a", 1, null]}], "items": {"$dynamicRef": "#t"}, "contains": {"multipleOf": 0.01}, "minContains": 1, "maxContains": 3, "uniqueItems": true, "unevaluatedItems": false}'),
('{"oneOf": [{"type": "object", "required": ["k"], "properties": {"k": {"const": "a"}, "v": {"type": "integer", "minimum": 1, "exclusiveMaximum": 1e3}}}, {"type": "object", "required": ["k"], "properties": {"k": {"const": "b"}}, "dependentRequired": {"v": ["w"]}, "dependentSchemas": {"w": {"propertyNames": {"maxLength": 3}}}}]}'),
('{"if": {"properties": {"a": true}, "required": ["a"]}, "then": {"minProperties": 2}, "else": {"not": {"type": "string"}}, "allOf": [{"properties": {"b": {}}}, {"$ref": "#/$defs/a~1b"}], "unevaluatedProperties": false, "$defs": {"a/b": {"$anchor": "q", "maxProperties": 5, "format": "date-time"}, "c": {"$id": "sub", "$ref": "#q"}}}'),
('{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"x": {"$id": "#anchor", "items": [{"type": "number"}, true], "additionalItems": {"$ref": "#anchor"}}}, "allOf": [{"$ref": "#/definitions/x"}], "dependencies": {"a": ["b"], "c": {"minProperties": 1}}}'),
('{"$ref": "https://json-schema.org/draft/2020-12/schema"}');

CREATE TEMP TABLE piece AS
WITH RECURSIVE part(value) AS (
    SELECT schema FROM seed
    UNION
    SELECT v FROM part, LATERAL (
        SELECT value AS v FROM jsonb_each(CASE jsonb_typeof(part.value) WHEN 'object' THEN part.value ELSE '{}' END)
        UNION ALL SELECT value FROM jsonb_array_elements(CASE jsonb_typeof(part.value) WHEN 'array' THEN part.value ELSE '[]' END)) s)
SELECT row_number() OVER () AS id, value FROM part
UNION ALL SELECT 1000 + i, v::jsonb FROM unnest(ARRAY['-1', '0', '1e400', '1e-300', '""', '"#"', '"#/"', '"#/$defs/%7E"', '"~"', '"(?:"', '"[\\\\w-]{3}"', '{}', '[]', 'null', '[[[[]]]]', '"http://x#y"', '"../.."']) WITH ORDINALITY u(v, i);
CREATE TEMP TABLE keyword AS
SELECT DISTINCT k FROM piece, jsonb_object_keys(CASE jsonb_typeof(value) WHEN 'object' THEN value ELSE '{}' END) k;

-- a random path into a document
CREATE FUNCTION pg_temp.place(doc jsonb) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    path text[] := '{}';
    step text;
BEGIN
    LOOP
        step := NULL;
        IF jsonb_typeof(doc) = 'object' THEN
            SELECT k INTO step FROM jsonb_object_keys(doc) k ORDER BY random() LIMIT 1;
        ELSIF jsonb_typeof(doc) = 'array' AND jsonb_array_length(doc) > 0 THEN
            step := floor(random() * jsonb_array_length(doc));
        END IF;
        EXIT WHEN step IS NULL;
        path := path || step;
        doc := doc #> ARRAY[step];
        EXIT WHEN random() < 0.3;
    END LOOP;
    RETURN path;
END $$;

CREATE FUNCTION pg_temp.mutate(doc jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    path text[];
    part jsonb;
BEGIN
    FOR i IN 1 .. 1 + floor(random() * 3) LOOP
        path := pg_temp.place(doc);
        SELECT value INTO part FROM piece ORDER BY random() LIMIT 1;
        IF random() < 0.3 AND jsonb_typeof(doc #> path) = 'object' THEN
            path := path || (SELECT k FROM keyword ORDER BY random() LIMIT 1);
        ELSIF random() < 0.15 THEN
            doc := doc #- path;
            CONTINUE;
        END IF;
        doc := jsonb_set(doc, path, part);
    END LOOP;
    RETURN doc;
END $$;

CREATE TEMP TABLE outcome (state text, message text);
CREATE FUNCTION pg_temp.attempt(statement text, a jsonb, b jsonb, c jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement USING a, b, c;
    INSERT INTO outcome VALUES ('00000', NULL);
EXCEPTION WHEN OTHERS THEN
    INSERT INTO outcome VALUES (SQLSTATE, CASE WHEN SQLSTATE = 'XX000' THEN SQLERRM || ': ' || a || ' | ' || b END);
END $$;

DO $$
DECLARE
    a jsonb;
    b jsonb;
    c jsonb;
BEGIN
    FOR i IN 1 .. current_setting('fuzz.rounds')::int LOOP
        SELECT schema INTO a FROM seed ORDER BY random() LIMIT 1;
        b := pg_temp.mutate(a);
        SELECT value INTO c FROM piece ORDER BY random() LIMIT 1;
        PERFORM pg_temp.attempt('SELECT count(*) FROM eb_schema_violations($2, $3)', a, b, c);
        PERFORM pg_temp.attempt('SELECT eb_schema_valid($2, $1)', a, b, c);
        PERFORM pg_temp.attempt('SELECT eb_drop_type(''fuzz.x''), eb_register_type(''fuzz.x'', $1), eb_register_type(''fuzz.x'', $2, ''full'')', a, b, c);
        PERFORM pg_temp.attempt('SELECT eb_drop_type(''fuzz.x''), eb_register_type(''fuzz.x'', $2), length(eb_typescript()), eb_drop_type(''fuzz.x'')', a, b, c);
        IF i % 500 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END $$;
SELECT format('%s outcomes: %s', state, count(*)) FROM outcome GROUP BY state ORDER BY state;
SELECT DISTINCT message FROM outcome WHERE state = 'XX000' LIMIT 5;
SELECT count(*) > 0 AS bad FROM outcome WHERE state = 'XX000' \gset
\if :bad
SELECT 1 / 0;
\endif
