-- CloudEvents out and in: nothing is lost on the way, in either direction.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(27);
SET LOCAL TimeZone = 'UTC';

-- CloudEvent -> event -> CloudEvent; what only the bus knows is left out of the comparison
CREATE FUNCTION pg_temp.kept(ce jsonb, name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    back jsonb;
    id uuid;
BEGIN
    id := (eb_emit(ce))[1];
    SELECT eb_cloudevent(e) INTO STRICT back FROM eb_pending() e WHERE e.event_id = id;
    back := back - CASE WHEN ce ? 'correlationid' THEN '' ELSE 'correlationid' END
                 - CASE WHEN ce ? 'time' THEN '' ELSE 'time' END
                 - CASE WHEN ce ? 'recordedtime' THEN '' ELSE 'recordedtime' END;
    RETURN is(back, jsonb_strip_nulls(ce - 'data') || CASE WHEN ce ? 'data' THEN jsonb_build_object('data', ce -> 'data') ELSE '{}' END, name);
END $$;

SELECT pg_temp.kept('{"specversion": "1.0", "id": "A234-1234-1234", "source": "/mycontext", "type": "com.example.someevent", "data": {"a": 1}}', 'minimal, foreign id');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e"}', 'no data');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "data": null}', 'null data');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "datacontenttype": "text/xml", "data": "<a/>"}', 'text data');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "datacontenttype": "application/octet-stream", "data_base64": "AAEC"}', 'binary data');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "time": "2018-04-05T17:31:00+02:00", "subject": "123", "dataschema": "https://example.com/s", "data": [1, 2]}', 'optional attributes');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "tenant": "acme", "num": 5, "flag": true, "off": false, "data": 1}', 'extensions of every type');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "correlationid": "0191d3a0-0000-7000-8000-000000000001", "causationid": "0191d3a0-0000-7000-8000-000000000002", "partitionkey": "o-1", "data": 1}', 'the mapped extensions');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "correlationid": "not-a-uuid", "causationid": "0191D3A0-0000-7000-8000-000000000002", "data": 1}', 'ids that are no canonical UUIDs');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "sequence": "00000000000000000007", "recordedtime": "2020-01-01T00:00:00Z", "data": 1}', 'a sequence of another bus');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1,b=2", "data": 1}', 'trace context');
SELECT pg_temp.kept('{"specversion": "1.0", "id": "x", "source": "/s", "type": "com.example.e", "subject": null, "data": 1}', 'null attributes are absent ones');

-- event -> CloudEvent -> event
CREATE TEMP TABLE native AS
SELECT eb_emit('order.placed', '{"total": 5}', 'o-7', correlation_id => '0191d3a0-0000-7000-8000-00000000000a', causation_id => '0191d3a0-0000-7000-8000-00000000000b',
               headers => '{"tenant": "acme", "X-Odd Name": "kept", "id": "a header", "empty": "", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}',
               priority => 4, deliver_at => '2999-01-01') AS id;
CREATE TEMP TABLE ce AS SELECT eb_cloudevent(e) AS ce, e FROM eb_pending() e JOIN native n ON e.event_id = n.id;
SELECT is((SELECT ce ->> 'specversion' FROM ce), '1.0', 'specversion');
SELECT is((SELECT ce ->> 'partitionkey' FROM ce), 'o-7', 'the aggregate is the partition key');
SELECT is((SELECT ce ->> 'id' FROM ce), (SELECT id::text FROM native), 'the id');
SELECT alike((SELECT ce ->> 'source' FROM ce), '/eventbus/%', 'a source');
SELECT is((SELECT ce ->> 'tenant' FROM ce), 'acme', 'a header with the name of an extension is one');
SELECT is((SELECT (ce ->> 'ebheaders')::jsonb FROM ce), '{"X-Odd Name": "kept", "id": "a header", "empty": ""}', 'others travel together');
SELECT is((SELECT ce ->> 'ebpriority' FROM ce), '4', 'the priority');
SELECT is(eb_cloudevent(ROW(42, '0191d3a0-0000-7000-8000-000000000001', 'a.b', NULL, '1', NULL, NULL, NULL, 0, NULL, '2026-01-02 03:04:05.678901+00')::eb_event) - 'source',
          '{"specversion": "1.0", "id": "0191d3a0-0000-7000-8000-000000000001", "type": "a.b", "data": 1, "time": "2024-09-08T21:52:44.032Z",
            "sequence": "00000000000000000042", "recordedtime": "2026-01-02T03:04:05.678901Z"}', 'sequence, time and recordedtime of a committed event');

CREATE TEMP TABLE again AS
SELECT (eb_emit(ce - 'time' || '{"id": "foreign"}'))[1] AS id FROM ce;
SELECT results_eq('SELECT type, aggregate_id, payload, correlation_id, causation_id, headers - ''ce-id'' - ''ce-source'' - ''ce-recordedtime'' - ''ce-sequence'', priority, deliver_at
                   FROM eb_pending() WHERE event_id = (SELECT id FROM again)',
                  'SELECT type, aggregate_id, payload, correlation_id, causation_id, headers, priority, deliver_at
                   FROM eb_pending() WHERE event_id = (SELECT id FROM native)', 'and back in, every column is the same');

-- malformed ones
CREATE FUNCTION pg_temp.refused(ce jsonb, name text) RETURNS text LANGUAGE sql AS $$
    SELECT throws_ok(format('SELECT eb_emit(%L::jsonb)', ce), '22023', NULL, name)
$$;
SELECT pg_temp.refused('{"specversion": "0.3", "id": "x", "source": "/s", "type": "a.b"}', 'another specversion');
SELECT pg_temp.refused('{"specversion": "1.0", "source": "/s", "type": "a.b"}', 'no id');
SELECT pg_temp.refused('{"specversion": "1.0", "id": "x", "source": "", "type": "a.b"}', 'empty source');
SELECT pg_temp.refused('{"specversion": "1.0", "id": "x", "source": "/s", "type": "a.b", "time": "yesterday"}', 'bad time');
SELECT pg_temp.refused('{"specversion": "1.0", "id": "x", "source": "/s", "type": "a.b", "Bad-Name": "x"}', 'bad extension name');
SELECT pg_temp.refused('{"specversion": "1.0", "id": "x", "source": "/s", "type": "a.b", "data": 1, "data_base64": "AAEC"}', 'data twice');
SELECT * FROM finish();
ROLLBACK;
