-- Random calls of every function of the extension with NULL, infinity, negative, huge and malformed arguments, as a superuser,
-- as a role with every right that eb_grant gives, and as nobody: whatever is refused is refused with an error of its own, never
-- with an internal one (class XX), nothing crashes, and the bus works afterwards.  EB_SEED and EB_ROUNDS in the environment choose
-- which calls and how many; after 8 s it is enough.
\ir common.psql
SELECT plan(5);
SELECT extract(epoch FROM clock_timestamp())::bigint % 100000 AS seed, 900 AS rounds \gset
\getenv seed EB_SEED
\getenv rounds EB_ROUNDS
SELECT diag('EB_SEED=' || :'seed');
SELECT 'eb_random_any_' || :'DBNAME' AS granted, 'eb_random_none_' || :'DBNAME' AS nobody \gset
DROP ROLE IF EXISTS :"granted", :"nobody";
CREATE ROLE :"granted";
CREATE ROLE :"nobody";
SELECT eb_grant('emit', '>', :'granted'), eb_grant('subscribe', '>', :'granted'), eb_grant('read', '>', :'granted') \g /dev/null
SELECT eb_subscribe('work', '{>}'), eb_subscribe('ordered', '{a.*}', ordering => 'aggregate', filter => '$.n > 1'), eb_subscribe('live', '{>}', durable => false) \g /dev/null
SELECT eb_grant('consume', 'work', :'granted') \g /dev/null
SELECT eb_register_type('typed.event', '{"type": "object", "required": ["n"]}') \g /dev/null
SELECT eb_emit('a.b', jsonb_build_object('n', i), i::text) FROM generate_series(1, 20) i \g /dev/null

-- What an argument can be, as SQL; weight is how often.
CREATE TEMP TABLE pool (type text, value text, weight int DEFAULT 1);
INSERT INTO pool SELECT 'text', quote_literal(v), 2 FROM unnest(ARRAY['', 'a', 'work', 'ordered', 'live', 'new', 'a.b', 'typed.event', 'a.*', '>',
    '!a.b', '*.>', 'A.b', 'a..b', 'emit', 'consume', 'read', 'subscribe', 'aggregate', 'none', 'keep', 'skip', 'backward', 'full', E'a\nb', E'\x7f', 'ä.ö',
    '$.n == 1', '%s%n%d', '^(a+)+$', '[', '(?<=a)\p{L}{2,}', '\u{1F600}', '-1', 'NaN', 'infinity', '''"; --', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01']) v;
INSERT INTO pool VALUES ('text', 'repeat(''x'', 65536)', 2), ('text', 'repeat(''a.'', 32768) || ''a''', 1), ('text', 'repeat(''\u20AC'', 20000)', 1), ('text', 'repeat(''[a-z]'', 200000)', 1);
INSERT INTO pool SELECT 'jsonb', quote_literal(v), 2 FROM unnest(ARRAY['null', '{}', '[]', '""', '0', '-1e300', 'true', '{"n": 2}', '[{"type": "a.b", "payload": 1}]', '{"type": "a.b"}', '{"type": 1}',
    '[{"type": "a.b", "payload": {}, "headers": {"a": "b"}, "priority": 99, "deliver_at": "infinity"}, 7]', '{"type": "a.b", "payload": 1, "event_id": "x"}', '{"type": "a.b", "payload": 1, "deliver_at": "never", "priority": 1e99}',
    '{"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b", "data": {"n": 3}}', '{"specversion": "1.0", "id": "", "source": 1, "type": "a.b", "ebheaders": "{"}', '{"specversion": "1.0", "id": "i", "source": "s", "type": "a.b", "ebheaders": "{\"a\": 1}", "x": 1e30, "ebpriority": 1.5}',
    '{"$ref": "#"}', '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}}}', '{"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 1e-300}}}', '{"pattern": "(a*)*b", "minLength": -1}', '{"enum": [[[]]], "const": {}}',
    '{"traceparent": "zz", "a": 1}', '{"a": "b", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}']) v;
INSERT INTO pool VALUES ('jsonb', 'to_jsonb(repeat(''x'', 1000000))', 1), ('jsonb', '(repeat(''['', 3000) || repeat('']'', 3000))::jsonb', 1), ('jsonb', '(SELECT jsonb_agg(i) FROM generate_series(1, 20000) i)', 1),
    ('jsonb', 'jsonb_build_object(repeat(''k'', 65536), 1)', 1), ('jsonb', '(repeat(''{"items": '', 1000) || ''true'' || repeat(''}'', 1000))::jsonb', 1), ('jsonb', '(''1'' || repeat(''0'', 5000))::jsonb', 1),
    ('jsonb', '(SELECT jsonb_agg(jsonb_build_object(''type'', ''a.b'', ''payload'', i)) FROM generate_series(1, 300) i)', 1);
INSERT INTO pool SELECT t, v, 2 FROM unnest('{bigint,integer,smallint,oid}'::text[]) t, unnest('{0,1,2,7,100}'::text[]) v;
INSERT INTO pool VALUES ('bigint', '-1', 1), ('bigint', '9223372036854775807', 1), ('bigint', '''-9223372036854775808''', 1), ('bigint', '(SELECT max(receipt) FROM (SELECT (d.seq << 16) | (d.token & 65535) AS receipt FROM eventbus.delivery d LIMIT 50) d)', 20),
    ('bigint', 'eb_last_offset()', 3), ('integer', '-1', 1), ('integer', '2147483647', 1), ('integer', '''-2147483648''', 1), ('smallint', '-1', 1), ('smallint', '32767', 1), ('smallint', '''-32768''', 1), ('oid', '4294967295', 1), ('oid', '10', 1);
INSERT INTO pool SELECT 'interval', quote_literal(v) FROM unnest(ARRAY['0', '1 us', '1 ms', '20 ms', '-1 s', '1 s', '900 years', '178000000 years', '-178000000 years', '1 month -30 days', '2147483647 days', 'infinity']) v;
INSERT INTO pool SELECT 'short interval', quote_literal(v) FROM unnest(ARRAY['0', '1 us', '5 ms', '-1 s', '178000000 years', '-178000000 years', 'infinity']) v;
INSERT INTO pool SELECT 'timestamp with time zone', quote_literal(v) FROM unnest(ARRAY['now', 'infinity', '-infinity', '4713-01-01 BC', '294276-12-31', '1970-01-01', 'tomorrow']) v;
INSERT INTO pool SELECT 'uuid', quote_literal(v) FROM unnest(ARRAY['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'ffffffff-ffff-7fff-bfff-ffffffffffff', '00000000-0000-7000-8000-000000000000', '0190163d-8694-739b-aea5-966c26f8ad91']) v;
INSERT INTO pool VALUES ('uuid', '(SELECT event_id FROM eventbus.event ORDER BY random() LIMIT 1)', 5), ('uuid', '(SELECT event_id FROM eventbus.event ORDER BY "offset" DESC LIMIT 1)', 3);
INSERT INTO pool SELECT t || '[]', v FROM unnest('{text,bigint,uuid}'::text[]) t, unnest(ARRAY['''{}''', '''{NULL}''', '''{{NULL},{NULL}}''', 'array_fill(NULL::text, ARRAY[10000])']) v;
INSERT INTO pool VALUES ('text[]', '''{>}''', 4), ('text[]', '''{a.*,!a.b}''', 2), ('text[]', '''[5:6]={a.b,c.>}''', 2), ('text[]', '''{!>}''', 1), ('text[]', '(SELECT array_agg(''a.b'' || i) FROM generate_series(1, 20000) i)', 1), ('text[]', 'ARRAY[repeat(''x'', 1000000)]', 1),
    ('bigint[]', '(SELECT array_agg(id) FROM eventbus.dead_letter)', 4), ('bigint[]', '''{1,1,-1,9223372036854775807}''', 2), ('bigint[]', '(SELECT array_agg(i) FROM generate_series(1, 50000) i)', 1),
    ('uuid[]', '(SELECT array_agg(event_id) FROM (SELECT event_id FROM eventbus.event ORDER BY random() LIMIT 5) e)', 4), ('uuid[]', '(SELECT array_agg(event_id) FROM eventbus.event)', 2);
INSERT INTO pool SELECT 'jsonpath', quote_literal(v) FROM unnest(ARRAY['$.n > 1', 'strict $.n == 1', '$', '$nope', '$type == "a.b" && $.n == 2', '$.** == 1', '$"\"" == 1', '$.a like_regex "(a*)*"', '1 == 1', '$headers."a" == "b"']) v;
INSERT INTO pool VALUES ('jsonpath', '(''$.a == "'' || repeat(''x'', 65536) || ''"'')::jsonpath', 1), ('jsonpath', '(repeat(''('', 300) || ''$.a == 1'' || repeat('')'', 300))::jsonpath', 1),
    ('boolean', 'true', 1), ('boolean', 'false', 1), ('double precision', '''NaN''', 1), ('double precision', '''infinity''', 1), ('double precision', '-1', 1), ('double precision', '0.5', 1), ('double precision', '1e308', 1),
    ('regclass', '0', 1), ('regclass', '4294967295', 1), ('regclass', '''pg_class''', 1), ('regclass', '''eventbus.subscription''', 1), ('regclass', '(SELECT inhrelid FROM pg_inherits WHERE inhparent = ''eventbus.event''::regclass ORDER BY random() LIMIT 1)', 1),
    ('regprocedure', '0', 1), ('regprocedure', '4294967295', 1), ('regprocedure', '''lower(text)''', 1), ('regprocedure', '''eb_get(uuid)''', 1),
    ('eb_reason', '''DeliveryFailed''', 2), ('eb_reason', '''MaxRetries''', 1), ('eb_reason', '''Nonsense''', 1), ('eb_reason', '''''', 1),
    ('eb_event', '(SELECT e FROM eb_read(1) e ORDER BY random() LIMIT 1)', 4), ('eb_event', '(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)', 1), ('eb_event', '(SELECT jsonb_populate_record(NULL::eb_event, ''{"type": "x", "headers": {"ce-id": 1}}''))', 1),
    ('name', quote_literal(:'granted'), 1), ('name', '''public''', 1), ('name', '''no such role''', 1), ('name', 'repeat(''n'', 65536)', 1), ('name', '''''', 1);
INSERT INTO pool SELECT DISTINCT type, 'NULL', 2 FROM pool;

CREATE TEMP TABLE choice AS SELECT type, value, sum(weight) OVER w - weight AS lowest, sum(weight) OVER w AS highest, sum(weight) OVER (PARTITION BY type) AS total
    FROM pool WINDOW w AS (PARTITION BY type ORDER BY value ROWS UNBOUNDED PRECEDING);

CREATE FUNCTION pg_temp.pick(wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    at double precision := random();
BEGIN
    RETURN (SELECT value FROM choice WHERE type = wanted AND at * total >= lowest AND at * total < highest);
END $$;

-- Every function, its input arguments and which of them may be left out.  What moves the log's storage is retention's own: whoever
-- may call it can as well drop a table.
CREATE TEMP TABLE callee AS
SELECT row_number() OVER (ORDER BY p.oid::regprocedure::text) AS n, p.oid::regproc::text AS name, p.pronargs, p.pronargdefaults, p.proargnames[1:p.pronargs] AS names,
    ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(t, i) ORDER BY i) AS types
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'eventbus' AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
    AND p.proname NOT IN ('detach_segment', 'keep_needed', 'prune_progress');
SELECT is((SELECT string_agg(DISTINCT t, ', ') FROM callee, unnest(types) t WHERE t NOT IN (SELECT type FROM pool)), NULL, 'there are values for every type of argument');

CREATE FUNCTION pg_temp.make_call() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    f callee;
    args text[] := '{}';
    type text;
    which int := 1 + floor(random() * (SELECT count(*) FROM callee));
BEGIN
    SELECT * INTO STRICT f FROM callee WHERE n = which;
    FOR i IN 1 .. f.pronargs LOOP
        CONTINUE WHEN i > f.pronargs - f.pronargdefaults AND random() < 0.6;
        type := f.types[i];
        IF f.names[i] IN ('wait', 'timeout') THEN
            type := 'short interval';
        END IF;
        args := args || format('%s(%s)::%s', f.names[i] || ' => ', pg_temp.pick(type), f.types[i]);
    END LOOP;
    RETURN format('SELECT count(*) FROM %s(%s) r', f.name, array_to_string(args, ', '));
END $$;

CREATE TEMP TABLE outcome (n int, who text, state text, message text, statement text);
CREATE FUNCTION pg_temp.attempt(n int, who text, statement text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    EXECUTE statement;
    RESET ROLE;
    INSERT INTO outcome VALUES (n, who, '00000', NULL, statement);
EXCEPTION WHEN OTHERS THEN
    INSERT INTO outcome VALUES (n, who, SQLSTATE, left(SQLERRM, 200), left(statement, 400));
END $$;

SET lock_timeout = '1 s';
SET statement_timeout = '120 s';
CREATE PROCEDURE pg_temp.try_all(seed int, rounds int, roles text[]) LANGUAGE plpgsql AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '8 s';
BEGIN
    PERFORM setseed((seed % 100000) / 100000.0);
    FOR i IN 1 .. rounds LOOP
        PERFORM pg_temp.attempt(i, roles[1 + floor(random() * cardinality(roles))], pg_temp.make_call());
        IF i % 10 = 0 THEN
            COMMIT;
            EXIT WHEN clock_timestamp() > deadline;
        END IF;
    END LOOP;
END $$;
SELECT format('{postgres,%I,%I}', :'granted', :'nobody') AS roles \gset
CALL pg_temp.try_all(:seed, :rounds, :'roles');
RESET statement_timeout;
RESET lock_timeout;
SELECT cmp_ok((SELECT count(*) FROM outcome), '>=', 10::bigint, 'calls were made');
SELECT diag(string_agg(format('%s calls: %s', state, n), ', ' ORDER BY state)) FROM (SELECT state, count(*) AS n FROM outcome GROUP BY state) s;
SELECT is((SELECT string_agg(DISTINCT format('%s: %s: %s by %s', state, message, statement, who), E'\n') FROM outcome WHERE state LIKE 'XX%'), NULL, 'no internal error');
SELECT is((SELECT string_agg(DISTINCT statement, E'\n') FROM outcome WHERE who = :'nobody' AND state = '00000' AND statement ~ 'eb_(emit|subscribe|unsubscribe|fetch|ack|nack|grant|revoke|replay|dlq|dead_letter|register|drop)'),
    NULL, 'nobody changed nothing');

-- The bus still works.
SELECT eb_subscribe('after', '{after.*}') \g /dev/null
SELECT eb_emit('after.all', '1') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('after', wait => '20 s')$$, ARRAY[1], 'the bus still works');
DROP OWNED BY :"granted", :"nobody";
DROP ROLE :"granted", :"nobody";
SELECT * FROM finish();
