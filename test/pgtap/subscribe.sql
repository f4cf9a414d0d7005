-- eb_subscribe and its kin: where a subscription starts, what it gets, how it changes, pauses, moves and goes.
\ir common.psql
SELECT plan(51);

-- From now on, and only what commits after.
SELECT eb_emit('order.early', '1') \g /dev/null
SELECT eb_subscribe('now') \g /dev/null
SELECT eb_emit('order.placed', '2') \g /dev/null
SELECT results_eq($$SELECT type, payload::int FROM eb_fetch('now', wait => '10 s')$$, $$VALUES ('order.placed', 2)$$,
    'a subscription starts from now on');

-- Emitted before the subscription, committed after it.
SELECT eb_subscribe('all', from_offset => 0) \g /dev/null
SELECT eb_subscribe('one', from_offset => 1) \g /dev/null
SELECT eb_subscribe('two', from_offset => 2) \g /dev/null
SELECT eb_subscribe('far', from_offset => 1000) \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('all', wait => '10 s')$$, ARRAY[1, 2], 'from_offset 0 is the whole log');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('one', wait => '10 s')$$, ARRAY[1, 2], 'so is from_offset 1');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('two', wait => '10 s')$$, ARRAY[2], 'from_offset is the first that is delivered');
SELECT eb_relay_run() \g /dev/null
SELECT is_empty($$SELECT * FROM eb_fetch('far')$$, 'from_offset may lie in the future');

SELECT eb_emit('clock.tick', '3') \g /dev/null
SELECT clock_timestamp() AS t \gset
SELECT eb_emit('clock.tock', '4') \g /dev/null
SELECT format('SELECT eb_subscribe(''since'', ''{clock.*}'', from_time => %L)', :'t') AS sql \gset
SELECT lives_ok(:'sql', 'a subscription may start at a time');
SELECT ok(4 = ANY (ARRAY(SELECT payload::int FROM eb_fetch('since', wait => '10 s'))), 'and gets everything since');
SELECT eb_subscribe('dawn', '{clock.*}', from_time => '2001-01-01') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('dawn', wait => '10 s')$$, ARRAY[3, 4], 'a time before the log is its beginning');
SELECT eb_subscribe('dusk', '{clock.*}', from_time => clock_timestamp() + interval '1 day') \g /dev/null

-- Topics.
SELECT eb_subscribe('t_one', '{topic.*}'), eb_subscribe('t_rest', '{topic.>}'), eb_subscribe('t_mid', '{topic.*.c}'),
       eb_subscribe('t_not', '{topic.>,!topic.b.>}'), eb_subscribe('t_lit', '{topic.a,other.z}') \g /dev/null
SELECT eb_emit('topic.a', '1'), eb_emit('topic.b.c', '2'), eb_emit('topic.b.c.d', '3'), eb_emit('topic.x.c', '4') \g /dev/null
SELECT eb_emit('other.z', '5') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('t_one')$$, ARRAY[1], '* is one token');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('t_rest')$$, ARRAY[1, 2, 3, 4], '> is one or more');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('t_mid')$$, ARRAY[2, 4], '* in the middle');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('t_not')$$, ARRAY[1, 4], '! excludes');
SELECT results_eq($$SELECT payload::int FROM eb_fetch('t_lit')$$, ARRAY[1, 5], 'any pattern may match');

-- Filters.
SELECT eb_subscribe('f', '{pay.*}', '$.total > 100 && $headers.tenant == "acme"'),
       eb_subscribe('f_env', '{pay.*}', '$type == "pay.in" && $aggregate_id == "k" && $priority == 3') \g /dev/null
SELECT eb_emit('pay.in', '{"total": 101}', headers => '{"tenant": "acme"}'),
       eb_emit('pay.in', '{"total": 100}', headers => '{"tenant": "acme"}'),
       eb_emit('pay.in', '{"total": 500}'), eb_emit('pay.in', '{"total": "many"}', headers => '{"tenant": "acme"}'),
       eb_emit('pay.in', 'null'), eb_emit('pay.in', '{"n": 6}', aggregate_id => 'k', priority => 3),
       eb_emit('pay.out', '{"n": 7}', aggregate_id => 'k', priority => 3) \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT results_eq($$SELECT payload->>'total' FROM eb_fetch('f')$$, ARRAY['101'], 'a filter sees payload and headers; errors are no match');
SELECT results_eq($$SELECT payload->>'n' FROM eb_fetch('f_env')$$, ARRAY['6'], 'and the envelope');

-- Again under the same name.
SELECT eb_subscribe('again', '{again.*}') \g /dev/null
SELECT eb_emit('again.a', '1'), eb_emit('again.b', '2') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_subscribe('again', '{again.b}', from_offset => 1, batch_size => 7, lease => '5 s', max_attempts => 9) \g /dev/null
SELECT eb_emit('again.a', '3'), eb_emit('again.b', '4') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('again')$$, ARRAY[1, 2, 4], 'the settings changed, the position was kept');
SELECT results_eq($$SELECT topics, batch_size, lease, max_attempts FROM eventbus.subscription WHERE name = 'again'$$,
    $$VALUES ('{again.b}'::text[], 7, interval '5 s', 9)$$, 'and are stored');
SELECT is((SELECT count(*) FROM eventbus.subscription WHERE name = 'again'), 1::bigint, 'there is still one');

-- From ordered to unordered and back, with events in both kinds of lanes.
SELECT eb_subscribe('turn', '{turn.*}', ordering => 'aggregate') \g /dev/null
SELECT eb_emit('turn.a', '1', aggregate_id => 'x') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_subscribe('turn', '{turn.*}', ordering => 'none') \g /dev/null
SELECT eb_emit('turn.a', '2', aggregate_id => 'x') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_subscribe('turn', '{turn.*}', ordering => 'aggregate') \g /dev/null
SELECT eb_emit('turn.a', '3', aggregate_id => 'y') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT set_eq($$SELECT payload::int FROM eb_fetch('turn')$$, ARRAY[1, 2, 3], 'a change of the ordering loses nothing');

-- Batches.
SELECT eb_subscribe('small', '{size.*}', batch_size => 3) \g /dev/null
SELECT eb_emit('size.a', to_jsonb(i)) FROM generate_series(1, 8) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT results_eq($$SELECT events FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id
    WHERE s.name = 'small' ORDER BY d.first_offset$$, ARRAY[3, 3, 2], 'no delivery is larger than batch_size');
SELECT eb_subscribe('window', '{window.*}', batch_window => '1 min', batch_size => 2) \g /dev/null
SELECT eb_emit('window.a', '1') \g /dev/null
SELECT is_empty($$SELECT * FROM eb_fetch('window', wait => '50 ms')$$, 'batch_window holds an event back');
SELECT eb_emit('window.a', '2') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('window', wait => '10 s')$$, ARRAY[1, 2], 'until the batch is full');
SELECT eb_subscribe('window2', '{window.*}', batch_window => '50 ms', from_offset => 1) \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('window2', wait => '10 s')$$, ARRAY[1, 2], 'a window and a start in the past');
SELECT eb_emit('window.a', '3') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('window2', wait => '10 s')$$, ARRAY[3], 'or until it is over');

-- Pause and resume.
SELECT eb_subscribe('rest', '{rest.*}') \g /dev/null
SELECT eb_emit('rest.a', '1') \g /dev/null
SELECT eb_pause('rest') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is_empty($$SELECT * FROM eb_fetch('rest', wait => '20 ms')$$, 'a paused subscription hands out nothing');
SELECT eb_emit('rest.a', '2') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT queued FROM pg_temp.queue('rest')), 2::bigint, 'but its queue fills');
SELECT lives_ok($$SELECT eb_pause('rest')$$, 'pausing twice does no harm');
SELECT eb_resume('rest') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('rest')$$, ARRAY[1, 2], 'resumed, it hands out all of it');
SELECT lives_ok($$SELECT eb_resume('rest')$$, 'neither does resuming twice');
SELECT eb_pause('rest') \g /dev/null
SELECT is((SELECT sum(n) FROM (SELECT eb_ack(receipt) AS n FROM (SELECT eb_receipt AS receipt FROM
    (SELECT ((d.seq << 16) | (d.token::int & 65535)) AS eb_receipt FROM eventbus.delivery d
     JOIN eventbus.subscription s ON s.id = d.subscription_id WHERE s.name = 'rest') r) q) a), 2::bigint,
    'what is leased when it is paused can be settled');

-- Seek.
SELECT eb_subscribe('seek', '{seek.*}') \g /dev/null
SELECT eb_emit('seek.a', to_jsonb(i)) FROM generate_series(1, 4) i \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('seek', wait => '10 s')$$, ARRAY[1, 2, 3, 4], 'four events');
SELECT "offset" AS third FROM eb_read(0, 1000, '{seek.*}') WHERE payload = '3' \gset
SELECT is(eb_seek('seek', :third), :third::bigint, 'eb_seek says where it goes on');
SELECT results_eq($$SELECT payload::int, attempt, replayed FROM eb_fetch('seek', wait => '10 s')$$,
    $$VALUES (3, 1, false), (4, 1, false)$$, 'backwards: delivered anew, and what was leased is gone');
SELECT eb_emit('seek.a', '5') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT eb_emit('seek.a', '6') \g /dev/null
SELECT "offset" AS sixth FROM eb_read(0, 1000, '{seek.*}') WHERE payload = '6' \gset
SELECT eb_seek('seek', :sixth) \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('seek', wait => '10 s')$$, ARRAY[6], 'forwards: what was queued is skipped');
SELECT eb_seek('seek', eb_last_offset() + 3) \g /dev/null
SELECT eb_emit('seek.a', to_jsonb(i)) FROM generate_series(7, 9) i \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('seek', wait => '10 s')$$, ARRAY[9], 'into the future');
SELECT eb_seek('seek', to_time => '2001-01-01') \g /dev/null
SELECT is((SELECT count(*) FROM eb_fetch('seek', wait => '10 s')), 9::bigint, 'to a time');
BEGIN;
SELECT eb_seek('seek', 1) \g /dev/null
ROLLBACK;
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT leased FROM pg_temp.queue('seek')), 9::bigint, 'a seek that was rolled back did nothing');

-- Unsubscribe.
SELECT eb_subscribe('gone', '{gone.*}') \g /dev/null
SELECT eb_emit('gone.a', '1'), eb_emit('gone.a', '2') \g /dev/null
SELECT receipt FROM eb_fetch('gone', 1, wait => '10 s') \gset
SELECT id FROM eventbus.subscription WHERE name = 'gone' \gset
SELECT is(eb_unsubscribe('gone'), true, 'eb_unsubscribe drops a subscription');
SELECT is(eb_unsubscribe('gone'), false, 'once');
SELECT is((SELECT count(*) FROM eventbus.delivery WHERE subscription_id = :id), 0::bigint, 'its queue is gone');
SELECT pg_temp.refused(format('SELECT eb_ack(%s)', :receipt), '55000', '%stale%', 'its receipts are stale');
SELECT pg_temp.refused($$SELECT * FROM eb_fetch('gone')$$, '42704', '%"gone"%', 'it cannot be fetched from');
SELECT eb_subscribe('gone', '{gone.*}') \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is_empty($$SELECT * FROM eb_fetch('gone')$$, 'a new one of that name starts afresh');
BEGIN;
SELECT eb_unsubscribe('gone') \g /dev/null
ROLLBACK;
SELECT eb_emit('gone.a', '3') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM eb_fetch('gone', wait => '10 s')$$, ARRAY[3], 'a rolled back eb_unsubscribe leaves it as it was');
BEGIN;
SELECT eb_subscribe('never') \g /dev/null
ROLLBACK;
SELECT pg_temp.refused($$SELECT * FROM eb_fetch('never')$$, '42704', '%"never"%', 'a rolled back eb_subscribe made nothing');

-- Many patterns of one stream; names with odd characters.
SELECT eb_subscribe('name ' || i, ARRAY['many.' || i % 10]) FROM generate_series(1, 100) i \g /dev/null
SELECT eb_emit('many.' || i, '0') FROM generate_series(0, 9) i \g /dev/null
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT count(*) FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id
    WHERE s.name LIKE 'name %'), 100::bigint, 'a hundred subscriptions of one stream');
SELECT lives_ok($$SELECT eb_subscribe('Größe "x" ''y'' $z;')$$, 'a name may have any printable character');
SELECT eb_emit('odd.name', '0') \g /dev/null
SELECT is((SELECT count(*) FROM eb_fetch('Größe "x" ''y'' $z;', wait => '10 s')), 1::bigint, 'and works');
SELECT lives_ok($$SELECT eb_subscribe(repeat('n', 54))$$, 'a name of 54 bytes');
SELECT eb_relay_run() \g /dev/null
SELECT is((SELECT count(*) FROM eventbus.seek), 0::bigint, 'no request is left over');
SELECT eb_unsubscribe(name) FROM eventbus.subscription \g /dev/null
SELECT is((SELECT count(*) FROM eventbus.delivery), 0::bigint, 'nor a delivery, once all are unsubscribed');

SELECT * FROM finish();
