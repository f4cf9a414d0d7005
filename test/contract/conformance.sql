-- Runs the groups of one file of the official suite.
CREATE TEMP TABLE outcome (draft text, file text, description text, outcome text, detail text);

-- jsonb cannot hold U+0000; the cases that have it run with U+0001.

-- The drafts before 2020-12 tell their cases apart by folder, not by $schema.
CREATE FUNCTION pg_temp.with_draft(draft text, schema jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN draft = 'draft7' AND jsonb_typeof(schema) = 'object' AND NOT schema ? '$schema'
                THEN schema || '{"$schema": "http://json-schema.org/draft-07/schema#"}' ELSE schema END
$$;

CREATE FUNCTION pg_temp.run(draft text, file text, content text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    grp json;
    tst json;
    schema jsonb;
    result text;
    why text;
    state text;
BEGIN
    FOR grp IN SELECT json_array_elements(replace(content, '\u0000', '\u0001')::json) LOOP
        FOR tst IN SELECT json_array_elements(grp -> 'tests') LOOP
            why := '';
            BEGIN
                schema := pg_temp.with_draft(draft, (grp -> 'schema')::jsonb);
                IF eb_schema_valid(schema, (tst -> 'data')::jsonb) = (tst ->> 'valid')::boolean THEN
                    result := 'passed';
                ELSE
                    result := 'failed';
                    why := 'valid should be ' || (tst ->> 'valid');
                END IF;
                -- both modes of the evaluator must agree
                IF EXISTS (SELECT FROM eb_schema_violations(schema, (tst -> 'data')::jsonb))
                   = eb_schema_valid(schema, (tst -> 'data')::jsonb) THEN
                    result := 'failed';
                    why := 'eb_schema_violations disagrees with eb_schema_valid';
                END IF;
            EXCEPTION WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
                why := state || ' ' || SQLERRM;
                result := CASE WHEN state = '0A000' THEN 'refused'
                               ELSE 'wrongly refused' END;
            END;
            INSERT INTO outcome VALUES (draft, file, (grp ->> 'description') || ': ' || (tst ->> 'description'), result, why);
        END LOOP;
    END LOOP;
END
$$;
