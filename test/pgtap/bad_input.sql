-- Everything that the consuming side refuses: SQLSTATE, message and hint; and that a refused call leaves nothing behind.
\ir common.psql
SELECT plan(148);
SELECT eb_subscribe('s', '{a.*}') \g /dev/null
SELECT eb_emit('a.b', '1') \g /dev/null
SELECT receipt AS r, event_id AS id FROM eb_fetch('s', lease => '1 hour', wait => '10 s') \gset
CREATE TEMP TABLE before AS SELECT (SELECT jsonb_agg(s) FROM eventbus.subscription s) AS subscriptions,
    (SELECT jsonb_agg(d) FROM eventbus.delivery d) AS deliveries, (SELECT count(*) FROM eventbus.seek) AS seeks,
    (SELECT count(*) FROM eventbus.dead_letter) AS letters, (SELECT count(*) FROM eventbus.dead_letter_source) AS sources;

-- eb_subscribe
SELECT pg_temp.refused('SELECT eb_subscribe(' || args || ')', state, message, 'eb_subscribe(' || left(args, 60) || ')') FROM (VALUES
    ('NULL', '22023', '%name%'), ('''''', '22023', '%1 to 54 bytes%'), ('repeat(''n'', 55)', '22023', '%1 to 54 bytes%'),
    ('repeat(''n'', 65536)', '22023', '%not 65536%'), ('E''a\nb''', '22023', '%control character%'), ('E''\x7f''', '22023', '%control character%'),
    ('''n'', NULL', '22023', '%topics%'), ('''n'', ''{}''', '22023', '%'), ('''n'', ''{NULL}''', '22023', '%'), ('''n'', ''{""}''', '22023', '%'),
    ('''n'', ''{A.b}''', '22023', '%A.b%'), ('''n'', ''{a..b}''', '22023', '%'), ('''n'', ''{a.>.b}''', '22023', '%'), ('''n'', ''{a.b*}''', '22023', '%'),
    ('''n'', ''{!}''', '22023', '%'), ('''n'', ''{!!a.b}''', '22023', '%'), ('''n'', ''{a. b}''', '22023', '%'), ('''n'', ''{ä.b}''', '22023', '%'),
    ('''n'', ARRAY[repeat(''x'', 300)]', '22023', '%'), ('''n'', ARRAY[repeat(''a.'', 16) || ''a'']', '22023', '%'),
    ('''n'', filter => ''$nope > 1''', '22023', '%nope%'), ('''n'', filter => ''$.a > $"b"''', '22023', '%b%'),
    ('''n'', from_offset => -1', '22023', '%negative%'), ('''n'', from_offset => 1, from_time => now()', '22023', '%exclude%'),
    ('''n'', ordering => ''key''', '22023', '%"key"%'), ('''n'', ordering => NULL', '22023', '%ordering%'),
    ('''n'', durable => NULL', '22023', '%durable%'),
    ('''n'', batch_size => 0', '22023', '%batch_size%'), ('''n'', batch_size => -1', '22023', '%batch_size%'), ('''n'', batch_size => NULL', '22023', '%batch_size%'),
    ('''n'', batch_size => 2000000000', '22023', '%batch_size%'),
    ('''n'', batch_window => ''-1 s''', '22023', '%batch_window%'), ('''n'', batch_window => NULL', '22023', '%batch_window%'),
    ('''n'', lease => ''0''', '22023', '%lease%'), ('''n'', lease => ''-1 s''', '22023', '%lease%'), ('''n'', lease => NULL', '22023', '%lease%'),
    ('''n'', lease => ''100000 years''', '22023', '%lease%'),
    ('''n'', max_attempts => 0', '22023', '%max_attempts%'), ('''n'', max_attempts => NULL', '22023', '%max_attempts%'),
    ('''n'', backoff => ''-1 us''', '22023', '%backoff%'), ('''n'', backoff => NULL', '22023', '%backoff%'),
    ('''n'', backoff_max => ''-1 us''', '22023', '%backoff_max%'), ('''n'', backoff_max => NULL', '22023', '%backoff_max%'),
    ('''n'', dlq_replay_after => ''-1 s''', '22023', '%dlq_replay_after%'),
    ('''n'', dlq_replay_max => -1', '22023', '%dlq_replay_max%'), ('''n'', dlq_replay_max => NULL', '22023', '%dlq_replay_max%')
) AS v(args, state, message);

-- Every function that takes a subscription's name.
SELECT pg_temp.refused(replace(call, '?', name), state, '%', format(call, name) || ' with ' || left(name, 20)) FROM (VALUES
    ('SELECT eb_pause(?)'), ('SELECT eb_resume(?)'), ('SELECT eb_seek(?, 1)'), ('SELECT * FROM eb_fetch(?)'), ('SELECT eb_replay(?, 1)')) AS c(call),
    (VALUES ('NULL', '22023'), ('''none''', '42704'), ('''S''', '42704')) AS n(name, state);
SELECT pg_temp.refused(replace(call, '?', 'repeat(''n'', 65536)'), state, '%', call || ' with 64 KB') FROM (VALUES
    ('SELECT eb_pause(?)', '22023'), ('SELECT eb_seek(?, 1)', '22023'), ('SELECT eb_unsubscribe(?)', '22023'), ('SELECT * FROM eb_fetch(?)', '42704')) AS c(call, state);
SELECT pg_temp.refused('SELECT eb_unsubscribe(NULL)', '22023', '%name%', 'eb_unsubscribe(NULL)');

-- eb_seek, eb_fetch
SELECT pg_temp.refused('SELECT eb_seek(''s''' || args || ')', '22023', message, 'eb_seek(''s''' || args || ')') FROM (VALUES
    ('', '%needs an offset or a time%'), (', -1', '%negative%'), (', 1, now()', '%exclude%')) AS v(args, message);
SELECT pg_temp.refused('SELECT * FROM eb_fetch(''s'', ' || args || ')', '22023', message, 'eb_fetch(''s'', ' || args || ')') FROM (VALUES
    ('0', '%max_events%'), ('-1', '%max_events%'), ('NULL', '%max_events%'), ('1, ''0''', '%lease%'), ('1, ''-1 s''', '%lease%'),
    ('1, ''10000000 years''', '%lease%'), ('1, wait => ''-1 s''', '%wait%'), ('1, wait => ''10000000 years''', '%wait%')) AS v(args, message);

-- Receipts that never were, were forged, or come with odd arguments.
SELECT pg_temp.refused(format('SELECT eb_%s(%s)', f, receipt), '55000', '%stale%', format('eb_%s(%s)', f, receipt))
    FROM unnest(ARRAY['ack', 'nack', 'extend']) f, (VALUES ('1'), ('-1'), ('9223372036854775807'), ('-9223372036854775808')) AS v(receipt);
SELECT pg_temp.refused(format('SELECT eb_%s(%s)', f, :r # 1), '55000', '%stale%', 'a forged token for eb_' || f) FROM unnest(ARRAY['ack', 'nack', 'extend']) f;
SELECT pg_temp.refused(format('SELECT eb_%s(NULL)', f), '22023', '%null%', format('eb_%s(NULL)', f)) FROM unnest(ARRAY['ack', 'nack', 'extend']) f;
SELECT pg_temp.refused(format('SELECT eb_nack(%s, %s)', :r, args), '22023', message, 'eb_nack(..., ' || args || ')') FROM (VALUES
    ('reason => NULL', '%reason%'), ('retry_after => ''-1 s''', '%retry_after%'), ('retry_after => ''10000000 years''', '%retry_after%')) AS v(args, message);
SELECT pg_temp.refused(format('SELECT eb_extend(%s, %L)', :r, l), '22023', '%lease%', format('eb_extend(..., %L)', l)) FROM (VALUES ('0'), ('-1 s'), ('10000000 years')) AS v(l);
SELECT throws_ok(format('SELECT eb_nack(%s, reason => ''Nonsense'')', :r), '22P02', NULL, 'a reason that does not exist');

-- Reading.
SELECT throws_ok('SELECT * FROM eb_read(' || args || ')', '22023', NULL, 'eb_read(' || args || ')') FROM (VALUES
    ('NULL'), ('-1'), ('1, 0'), ('1, -1'), ('1, NULL'), ('1, 1, ''{A.b}'''), ('1, 1, NULL, ''$nope == 1''')) AS v(args);
SELECT throws_ok('SELECT eb_get(NULL)', '22023', NULL, 'eb_get(NULL)');
SELECT throws_ok('SELECT eb_offset_at(NULL)', '22023', NULL, 'eb_offset_at(NULL)');
SELECT is(eb_get('00000000-0000-0000-0000-000000000000'), NULL, 'an id that is no UUIDv7 is not in the log');

-- A read-only transaction.
BEGIN READ ONLY;
SELECT throws_ok(call, '25006', NULL, 'read-only: ' || call) FROM (VALUES
    ('SELECT eb_subscribe(''x'')'), ('SELECT eb_unsubscribe(''s'')'), ('SELECT eb_pause(''s'')'), ('SELECT eb_resume(''s'')'), ('SELECT eb_seek(''s'', 1)'),
    ('SELECT * FROM eb_fetch(''s'')'), ('SELECT eb_ack(1)'), ('SELECT eb_nack(1)'), ('SELECT eb_extend(1)'), ('SELECT eb_replay(''s'', 1)'),
    ('SELECT eb_dead_letter(''j'', ''t'', ''1'', ''MaxRetries'')'), ('SELECT eb_dlq_replay(''{1}'')'), ('SELECT eb_dlq_purge(''{1}'')')) AS v(call);
SELECT lives_ok('SELECT * FROM eb_read(1), eb_last_offset(), eb_offset_at(now())', 'reading is fine');
ROLLBACK;

-- Nothing was changed by any of it, and the bus still works.
SELECT is((SELECT to_jsonb(a) FROM (SELECT (SELECT jsonb_agg(s) FROM eventbus.subscription s) AS subscriptions,
    (SELECT jsonb_agg(d) FROM eventbus.delivery d) AS deliveries, (SELECT count(*) FROM eventbus.seek) AS seeks,
    (SELECT count(*) FROM eventbus.dead_letter) AS letters, (SELECT count(*) FROM eventbus.dead_letter_source) AS sources) a),
    (SELECT to_jsonb(b) FROM before b), 'what was refused left nothing behind');
SELECT is(eb_ack(:r), 1, 'the receipt is still good');

-- Odd, but right.
SELECT lives_ok(call, call) FROM (VALUES
    ('SELECT eb_subscribe(''odd'', ''{>}'', from_offset => 9223372036854775807)'), ('SELECT eb_seek(''odd'', 9223372036854775807)'), ('SELECT eb_seek(''odd'', 0)'),
    ('SELECT eb_seek(''odd'', to_time => ''infinity'')'), ('SELECT eb_seek(''odd'', to_time => ''-infinity'')'), ('SELECT * FROM eb_fetch(''odd'', 2147483647)'),
    ('SELECT * FROM eb_read(9223372036854775807)'), ('SELECT * FROM eb_read(0, 2147483647)'), ('SELECT eb_offset_at(''infinity'')'), ('SELECT eb_offset_at(''-infinity'')'),
    ('SELECT eb_replay(''odd'', 9223372036854775807)'), ('SELECT eb_replay(''odd'', 0, 9223372036854775807)'), ('SELECT eb_replay(''odd'', from_time => ''-infinity'', to_time => ''infinity'')'),
    ('SELECT eb_subscribe(''odd'', lease => ''900 years'', backoff => ''900 years'', backoff_max => ''900 years'', batch_window => ''900 years'', dlq_replay_after => ''900 years'')'),
    ('SELECT * FROM eb_fetch(''odd'', lease => ''900 years'')'), ('SELECT eb_extend((seq << 16) | (token::int & 65535), ''900 years'') FROM eventbus.delivery WHERE lease_until > now()'),
    ('SELECT eb_nack((seq << 16) | (token::int & 65535)) FROM eventbus.delivery WHERE lease_until > now()'),
    ('SELECT eb_dlq_purge(older_than => ''900 years'')'), ('SELECT eb_unsubscribe(''odd'')')) AS v(call);
SELECT eb_relay_run() \g /dev/null
SELECT eb_emit('a.c', '2') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('s', wait => '10 s')$$, ARRAY[2], 'the relay is well');
SELECT * FROM finish();
