-- What checking a payload against its contract costs.  Runs in one backend; a
-- measure is the median of :runs runs, by the clock and by the processor time of the
-- backend (from /proc, so that neighbours on the machine matter less).
\set QUIET on
\pset format aligned
\pset tuples_only off
\pset footer off
SET client_min_messages = warning;
SET jit = off;
\if :{?runs} \else \set runs 5 \endif
\if :{?events} \else \set events 100000 \endif

CREATE TEMP TABLE result (measure text, n bigint, wall double precision, cpu double precision);

CREATE FUNCTION pg_temp.cpu() RETURNS double precision LANGUAGE sql VOLATILE AS $$
    SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::float8 / 1e9
$$;

-- Runs a statement; notes how long it took.
CREATE FUNCTION pg_temp.measure(name text, n bigint, statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wall timestamptz := clock_timestamp();
    cpu float8 := pg_temp.cpu();
BEGIN
    EXECUTE statement;
    INSERT INTO result VALUES (name, n, extract(epoch FROM clock_timestamp() - wall), pg_temp.cpu() - cpu);
END $$;

CREATE TEMP TABLE contract (name text PRIMARY KEY, schema jsonb);
INSERT INTO contract VALUES
('small', '{"type": "object", "required": ["id", "total"], "additionalProperties": false,
            "properties": {"id": {"type": "string", "maxLength": 40}, "total": {"type": "number", "minimum": 0},
                           "currency": {"enum": ["EUR", "USD"]}}}'),
('order', '{"type": "object", "additionalProperties": false,
            "required": ["id", "total", "currency", "customer", "lines", "placed"],
            "properties": {
              "id": {"type": "string", "minLength": 1, "maxLength": 40},
              "total": {"type": "number", "minimum": 0},
              "currency": {"enum": ["EUR", "USD", "GBP", "CHF"]},
              "customer": {"type": "object", "required": ["id", "address"], "properties": {
                 "id": {"type": "integer", "minimum": 1}, "name": {"type": "string", "maxLength": 100},
                 "address": {"type": "object", "required": ["city"], "properties": {
                    "city": {"type": "string"}, "zip": {"type": "string", "maxLength": 10}}}}},
              "lines": {"type": "integer", "minimum": 1}, "placed": {"type": "string"}, "paid": {"type": "boolean"},
              "channel": {"type": ["string", "null"]}, "note": {"type": "string"}, "version": {"const": 1}}}'),
('tweet', '{"type": "object",
            "required": ["id", "id_str", "text", "created_at", "user", "entities"],
            "properties": {
              "id": {"type": "integer"}, "id_str": {"type": "string", "pattern": "^[0-9]+$"},
              "text": {"type": "string", "maxLength": 280}, "created_at": {"type": "string"}, "lang": {"type": "string", "maxLength": 3},
              "truncated": {"type": "boolean"}, "favorited": {"type": "boolean"}, "retweeted": {"type": "boolean"},
              "source": {"type": "string"}, "retweet_count": {"type": "integer", "minimum": 0},
              "favorite_count": {"type": "integer", "minimum": 0},
              "in_reply_to_status_id": {"type": ["integer", "null"]}, "in_reply_to_user_id": {"type": ["integer", "null"]},
              "in_reply_to_screen_name": {"type": ["string", "null"]},
              "coordinates": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/point"}]},
              "retweeted_status": {"$ref": "#"},
              "user": {"$ref": "#/$defs/user"},
              "entities": {"type": "object", "required": ["hashtags", "urls", "user_mentions"], "properties": {
                 "hashtags": {"type": "array", "items": {"$ref": "#/$defs/hashtag"}},
                 "urls": {"type": "array", "items": {"$ref": "#/$defs/url"}},
                 "user_mentions": {"type": "array", "items": {"$ref": "#/$defs/mention"}}}}},
            "$defs": {
              "indices": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer", "minimum": 0}},
              "point": {"type": "object", "required": ["type", "coordinates"], "properties": {
                 "type": {"const": "Point"}, "coordinates": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}}},
              "hashtag": {"type": "object", "required": ["text", "indices"], "properties": {
                 "text": {"type": "string"}, "indices": {"$ref": "#/$defs/indices"}}},
              "url": {"type": "object", "required": ["url", "expanded_url", "indices"], "properties": {
                 "url": {"type": "string", "format": "uri"}, "expanded_url": {"type": "string", "format": "uri"},
                 "display_url": {"type": "string"}, "indices": {"$ref": "#/$defs/indices"}}},
              "mention": {"type": "object", "required": ["id", "screen_name", "indices"], "properties": {
                 "id": {"type": "integer"}, "screen_name": {"type": "string", "maxLength": 50}, "name": {"type": "string"},
                 "indices": {"$ref": "#/$defs/indices"}}},
              "user": {"type": "object", "required": ["id", "screen_name", "name"], "properties": {
                 "id": {"type": "integer"}, "id_str": {"type": "string"}, "name": {"type": "string", "maxLength": 50},
                 "screen_name": {"type": "string", "pattern": "^[A-Za-z0-9_]{1,15}$"}, "location": {"type": ["string", "null"]},
                 "url": {"type": ["string", "null"]}, "description": {"type": ["string", "null"], "maxLength": 160},
                 "protected": {"type": "boolean"}, "verified": {"type": "boolean"},
                 "followers_count": {"type": "integer", "minimum": 0}, "friends_count": {"type": "integer", "minimum": 0},
                 "statuses_count": {"type": "integer", "minimum": 0}, "created_at": {"type": "string"},
                 "profile_image_url": {"type": "string", "format": "uri"}, "lang": {"type": ["string", "null"]}}}}}');

-- A tweet has the shape and about the size (2 kB as text) of those that Twitter's streaming API delivered.
CREATE FUNCTION pg_temp.tweet(i int, nested boolean) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object(
        'id', 500000000000000000 + i, 'id_str', (500000000000000000 + i)::text, 'created_at', 'Sun Aug 31 00:29:15 +0000 2014',
        'text', 'reading about event buses and transactional outboxes all day long, number ' || i || ' #postgres https://t.co/abc' || i,
        'source', '<a href="http://twitter.com/download/iphone" rel="nofollow">Twitter for iPhone</a>', 'truncated', false,
        'in_reply_to_status_id', NULL, 'in_reply_to_user_id', CASE WHEN i % 3 = 0 THEN i END, 'in_reply_to_screen_name', NULL,
        'coordinates', CASE WHEN i % 5 = 0 THEN '{"type": "Point", "coordinates": [2.35, 48.85]}'::jsonb END,
        'retweet_count', i % 100, 'favorite_count', i % 17, 'favorited', false, 'retweeted', false, 'lang', 'en',
        'entities', jsonb_build_object(
            'hashtags', jsonb_build_array(jsonb_build_object('text', 'postgres', 'indices', '[80, 89]'::jsonb)),
            'urls', jsonb_build_array(jsonb_build_object('url', 'https://t.co/abc', 'expanded_url', 'https://www.postgresql.org/docs/',
                                                         'display_url', 'postgresql.org/docs/', 'indices', '[90, 113]'::jsonb)),
            'user_mentions', jsonb_build_array(jsonb_build_object('id', i, 'screen_name', 'someone', 'name', 'Some One', 'indices', '[3, 11]'::jsonb))),
        'user', jsonb_build_object(
            'id', 1186275104 + i, 'id_str', (1186275104 + i)::text, 'name', 'Ada Lovelace', 'screen_name', 'ada_' || i % 1000,
            'location', 'London', 'url', NULL, 'description', 'notes on the analytical engine, by the translator', 'protected', false,
            'verified', i % 50 = 0, 'followers_count', 262, 'friends_count', 252, 'statuses_count', 1769,
            'created_at', 'Sat Feb 16 13:46:25 +0000 2013', 'lang', 'en', 'profile_image_url', 'http://pbs.twimg.com/profile_images/497760886795153410/LDjAwR_y_normal.jpeg'))
    || CASE WHEN nested THEN jsonb_build_object('retweeted_status', pg_temp.tweet(i + 1, false)) ELSE '{}' END
$$;

CREATE TEMP TABLE document AS
SELECT 'small' AS name, jsonb_build_object('id', 'o-' || i, 'total', i + 0.95, 'currency', 'EUR') AS document FROM generate_series(1, :events) i
UNION ALL
SELECT 'order', jsonb_build_object(
           'id', 'o-' || i, 'total', i + 0.95, 'currency', 'EUR', 'lines', 3, 'placed', '2026-01-01T10:00:00Z', 'paid', true,
           'channel', NULL, 'note', 'none', 'version', 1,
           'customer', jsonb_build_object('id', i, 'name', 'Ada Lovelace', 'address', '{"city": "Paris", "zip": "75001"}'::jsonb))
FROM generate_series(1, :events) i
UNION ALL
SELECT 'tweet', pg_temp.tweet(i, i % 2 = 0) FROM generate_series(1, :events / 4) i;
CREATE TEMP TABLE small AS SELECT document FROM document WHERE name = 'small';
CREATE TEMP TABLE "order" AS SELECT document FROM document WHERE name = 'order';
CREATE TEMP TABLE tweet AS SELECT document FROM document WHERE name = 'tweet';
DROP TABLE document;
VACUUM ANALYZE small;
VACUUM ANALYZE "order";
VACUUM ANALYZE tweet;

\o /dev/null
-- Reading the rows alone, then with the check: the difference is the check.
SELECT format('SELECT pg_temp.measure(%L, count(*), %L) FROM pg_temp.%I', c.name || ' read', format('SELECT count(*) FROM pg_temp.%I WHERE document IS DISTINCT FROM NULL', c.name), c.name),
       format('SELECT pg_temp.measure(%L, count(*), %L) FROM pg_temp.%I', c.name || ' check', format('SELECT count(*) FROM pg_temp.%I WHERE eb_schema_valid(%L, document)', c.name, c.schema), c.name)
FROM contract c, generate_series(1, :runs)
\gexec
\o

-- Emitting without and with the contract, in turns; rolled back, so that only the emit counts.
-- Emitting without and with the contract, in turns, each run one transaction with its commit.
CREATE FUNCTION pg_temp.start() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT set_config('bench.wall', extract(epoch FROM clock_timestamp())::text, false), set_config('bench.cpu', pg_temp.cpu()::text, false)
$$;
CREATE FUNCTION pg_temp.stop(name text) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO pg_temp.result
    SELECT name, (SELECT count(*) FROM pg_temp."order"),
           extract(epoch FROM clock_timestamp()) - current_setting('bench.wall')::float8, pg_temp.cpu() - current_setting('bench.cpu')::float8
$$;
SELECT unnest(ARRAY[
    'SELECT eb_drop_type(''bench.order'')',
    'SELECT pg_temp.start()', 'SELECT count(eb_emit(''bench.order'', document)) FROM pg_temp."order"', 'SELECT pg_temp.stop(''emit'')',
    format('SELECT eb_register_type(''bench.order'', %L)', schema),
    'SELECT pg_temp.start()', 'SELECT count(eb_emit(''bench.order'', document)) FROM pg_temp."order"', 'SELECT pg_temp.stop(''emit with contract'')'])
FROM contract, generate_series(1, :runs) WHERE name = 'order'
\o /dev/null
\gexec
SELECT eb_drop_type('bench.order');
\o

\echo median of :runs runs
WITH m AS (
    SELECT measure, min(n) AS n, percentile_cont(0.5) WITHIN GROUP (ORDER BY wall) AS wall, percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu) AS cpu
    FROM result GROUP BY measure)
SELECT measure, n, round((wall / n * 1e6)::numeric, 3) AS "us each", round((cpu / n * 1e6)::numeric, 3) AS "us CPU each",
       round((n / wall)::numeric) AS "per second", round((n / cpu)::numeric) AS "per CPU second"
FROM m ORDER BY measure;
WITH m AS (
    SELECT measure, min(n) AS n, percentile_cont(0.5) WITHIN GROUP (ORDER BY wall) AS wall, percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu) AS cpu
    FROM result GROUP BY measure)
SELECT c.name AS schema, round((m.n / (m.wall - r.wall))::numeric) AS "checks/s", round((m.n / (m.cpu - r.cpu))::numeric) AS "checks/CPU s"
FROM contract c JOIN m ON m.measure = c.name || ' check' JOIN m r ON r.measure = c.name || ' read';
WITH m AS (
    SELECT measure, percentile_cont(0.5) WITHIN GROUP (ORDER BY wall) AS wall, percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu) AS cpu FROM result GROUP BY measure)
SELECT 'emit with the contract / without' AS ratio, round((a.wall / b.wall)::numeric, 3) AS clock, round((a.cpu / b.cpu)::numeric, 3) AS cpu
FROM m a, m b WHERE a.measure = 'emit with contract' AND b.measure = 'emit';
