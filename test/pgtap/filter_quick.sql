-- A filter answers as jsonb_path_match does, though most events are refused without evaluating it.
SELECT plan(21);

SELECT eb_emit('odd.payload', p::jsonb) FROM unnest(ARRAY[
    '{"k": 7}', '{"k": 7.0}', '{"k": 8}', '{"k": "7"}', '{"k": null}', '{"k": true}', '{"k": false}', '{"k": ""}',
    '{"k": [7]}', '{"k": [8, 7]}', '{"k": []}', '{"k": {"k": 7}}', '{"k": {}}', '{}', '[]', '[{"k": 7}]', '[{"k": 8}, {"k": 7}]',
    '7', '"7"', 'null', 'true', '{"k": 7, "s": "acme"}', '{"k": 7, "s": "acm"}', '{"k": 8, "s": "acme"}', '{"s": "acme"}',
    '{"k": "x", "s": "acme"}', '{"k": [8], "s": ["acme"]}', '{"k": 1e400}', '{"kk": 7, "K": 7}'
]) AS p \g /dev/null

-- What the filter lets through, against the general function; errors and nulls are no match.
CREATE FUNCTION pg_temp.same(path jsonpath) RETURNS text LANGUAGE sql AS $$
    SELECT results_eq(
        format('SELECT "offset" FROM eb_read(1, 1000, filter => %L)', path),
        format($q$SELECT "offset" FROM eb_read(1, 1000)
               WHERE jsonb_path_match(payload, %L, '{}', silent => true) ORDER BY 1$q$, path),
        path::text)
$$;

SELECT pg_temp.same(path) FROM unnest(ARRAY[
    '$.k == 7', '7 == $.k', '$.k == "7"', '$.k == true', '$.k == false', '$.k == null', '$.k == ""', '$.k == -7',
    'strict $.k == 7', '$.k == 7 && $.s == "acme"', '$.s == "acme" && $.k == 7', '$.k > 7 && $.s == "acme"',
    '$.k == 7 || $.s == "acme"', '!($.k == 7)', '($.k == 7) is unknown', '$.k[*] == 7', '$.k.k == 7', '$.k == $.s',
    '($.k == 7 || $.k == 8) && $.s == "acme"', 'exists($.k) && $.k == 7', '$.k == 8 && !($.s == "acme")'
]::jsonpath[]) AS path;

SELECT * FROM finish();
