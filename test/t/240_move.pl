# What happens to a delivery while it is moved from one store of the queue to
# another: receipts stay good, nobody gets it twice or misses it, and an ordered
# lane keeps its order.  The relay is off, so that each step is made on purpose.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use EbSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('move');
$node->init;
$node->append_conf('postgresql.conf', q{
eventbus.relay = off
eventbus.queue_rotate_size = 32kB
eventbus.queue_truncate_delay = 0
autovacuum = off
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION eventbus');
my $connstr = $node->connstr('postgres');
my ($r, $a, $b) = map { EbSession->new($connstr, $_) } qw(relay a b);

my $FETCH = q{SELECT string_agg(payload::text, ' ' ORDER BY "offset") FROM eb_fetch('s')};

sub stores { return $r->must("SELECT string_agg(DISTINCT store::text, ',') FROM eventbus.delivery"); }

# A queue with events 1 to n in a store that is not the current one, which the next run will move.
sub queue
{
	my ($n, $settings) = @_;
	$r->must(q{SELECT eb_unsubscribe(name) FROM eventbus.subscription});
	$r->must('SELECT eb_relay_run()') for 1 .. 8;
	$r->must("SELECT eb_subscribe('s'" . ($settings // '') . ')');
	$r->must("SELECT count(eb_emit('move.it', to_jsonb(i), 'x')) FROM generate_series(1, $n) i");
	$r->must('SELECT eb_relay_run()');
	my $store = stores();
	$r->must('SELECT eb_relay_run()');
	is(stores(), $store, 'the rows are still where they were');
	return $store;
}

sub receipt { return $a->must("SELECT DISTINCT receipt FROM eb_fetch('s', lease => '1 h')"); }

# Sends a statement that waits for the mover.
sub send_blocked
{
	my ($session, $sql) = @_;
	my $pid = $session->backend;
	$session->send($sql);
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid")
	  or die "$sql does not wait";
}

for my $end ('COMMIT', 'ROLLBACK')
{
	my $store = queue(1);
	my $receipt = receipt();
	$r->must("BEGIN; SELECT eb_relay_run()");
	isnt(stores(), $store, "$end: a leased row is moved");
	send_blocked($a, "SELECT eb_ack($receipt)");
	$r->must($end);
	is($a->receive, 1, "$end: an ack that waited for the move finds the row");
	ok(!defined $a->query("SELECT eb_ack($receipt)") && $a->{state} eq '55000', "$end: the second is stale");
	is($r->must('SELECT count(*) FROM eventbus.delivery'), 0, "$end: nothing is left");

	$store = queue(3);
	$receipt = receipt();
	$r->must("BEGIN; SELECT eb_relay_run()");
	send_blocked($a, "SELECT eb_extend($receipt, '2 h') > now() + interval '90 min'");
	$r->must($end);
	is($a->receive, 't', "$end: a lease is extended");
	$r->must("BEGIN; SELECT eb_relay_run()");
	send_blocked($a, "SELECT eb_ack($receipt, ARRAY[(SELECT event_id FROM eventbus.event WHERE payload = '2' ORDER BY \"offset\" DESC LIMIT 1)])")
	  if $end eq 'ROLLBACK';
	$r->must($end);
	is($end eq 'ROLLBACK' ? $a->receive : 1, 1, "$end: a part is acknowledged");
	is($a->must("SELECT eb_nack($receipt, retry_after => '0')"), $end eq 'ROLLBACK' ? 2 : 3, "$end: the rest fails");

	$store = queue(2);
	$r->must("BEGIN; SELECT eb_relay_run()");
	is($a->must($FETCH), '', "$end: a consumer does not wait for a move");
	$a->send(q{SELECT string_agg(payload::text, ' ') FROM eb_fetch('s', wait => '60 s')});
	$r->must($end);
	is($a->receive, '1 2', "$end: it gets the events afterwards");
	is($b->must($FETCH), '', "$end: once");

	$store = queue(3, q{, ordering => 'aggregate', batch_size => 1});
	$r->must("BEGIN; SELECT eb_relay_run()");
	is($a->must($FETCH), '', "$end: nothing of an ordered lane that is being moved");
	$r->must($end);
	is($a->must($FETCH), '1', "$end: its first event afterwards");
	is($b->must($FETCH), '', "$end: and nothing else");
}

# A row that a consumer is at work on stays.
my $store = queue(1);
my $receipt = receipt();
$a->must("BEGIN; SELECT eb_ack($receipt)");
$r->must('SELECT eb_relay_run()');
$a->must('ROLLBACK');
is(stores(), $store, 'what a transaction has settled is left alone');
is($a->must("SELECT eb_ack($receipt)"), 1, 'its receipt is good when that was rolled back');

# The head of an ordered lane stays while those after it are moved.
$store = queue(3, q{, ordering => 'aggregate', batch_size => 1});
$b->must('BEGIN; SELECT count(*) FROM (SELECT FROM eventbus.delivery FOR UPDATE) d');
$r->must('SELECT eb_relay_run()');
is(stores(), $store, 'rows that are locked are not moved');
$b->must('ROLLBACK');
is($a->must("BEGIN; $FETCH"), '1', 'a consumer has the head of a lane');
$r->must('SELECT eb_relay_run()');
like(stores(), qr/,/, 'the others are moved');
is($b->must($FETCH), '', 'and not handed out');
$a->must('ROLLBACK');
is($b->must($FETCH), '1', 'the head comes first');
$r->must('SELECT eb_relay_run()');
is($a->must($FETCH), '', 'moved or not');
is($b->must('SELECT sum(eb_ack((seq << 16) | (token::int & 65535))) FROM eventbus.delivery WHERE lease_until IS NOT NULL'), 1, 'it is settled');
is($a->must($FETCH), '2', 'then the next');

# Events that come while the queue changes stores keep their place in the lane.
$store = queue(1, q{, ordering => 'aggregate', batch_size => 1});
$r->must("SELECT count(eb_emit('move.it', to_jsonb(i), 'x')) FROM generate_series(2, 3) i");
$a->must('BEGIN; SELECT count(*) FROM eb_fetch(\'s\')');
$r->must('SELECT eb_relay_run()');
$a->must('ROLLBACK');
like(stores(), qr/,/, 'a lane in two stores');
for my $i (1 .. 3)
{
	is($a->must($FETCH), $i, "event $i is next");
	$a->must('SELECT sum(eb_ack((seq << 16) | (token::int & 65535))) FROM eventbus.delivery WHERE lease_until IS NOT NULL');
}

# Who waits for events keeps nothing from being truncated.
$store = queue(1);
is($a->must('SELECT eb_ack(' . receipt() . ')'), 1, 'the queue is empty');
my $pid = $a->backend;
$a->send(q{SELECT count(*) FROM eb_fetch('s', wait => '60 s')});
$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid") or die;
$r->must('SELECT eb_relay_run()') for 1 .. 4;
is($r->must("SELECT pg_relation_size('eventbus.delivery_$store')"), 0, 'a store is truncated beside a consumer that waits');
$r->must(q{SELECT eb_emit('move.it', '1'); SELECT eb_relay_run()});
is($a->receive, 1, 'which gets what comes then');

# Rows that somebody else puts into a store that was truncated, as a restore does.
queue(1);
$a->must("SELECT count(*) FROM eb_fetch('s', lease => '1 us')");
$r->must('SELECT eb_relay_run()') for 1 .. 8;
my $clean = (grep { $r->must("SELECT pg_relation_size('eventbus.delivery_$_')") == 0 } 0 .. 2)[0];
$r->must(q{SELECT eb_unsubscribe('s'); SELECT eb_subscribe('s')});
$r->must(qq{INSERT INTO eventbus.delivery_$clean (seq, position, subscription_id, lane, token, first_offset, last_offset, events, attempt, replays, replayed, store)
	SELECT 1000000, "offset", s.id, 9, 7, "offset", "offset", 1, 0, 0, false, $clean
	FROM eventbus.subscription s, (SELECT max("offset") AS "offset" FROM eventbus.event) e});
$r->must('SELECT eb_relay_run()') for 1 .. 2;
is($a->must("SELECT count(*) FROM eb_fetch('s')"), 1, 'rows that a restore puts into a store are found');

$_->close for $r, $a, $b;
$node->stop;
done_testing();
