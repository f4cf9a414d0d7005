# While a transaction that has nothing to do with the queue holds the xmin horizon,
# the queue's and the relay's tables stay small, nothing is lost or comes twice, and
# receipts from before stay good; beside a dump's locks, an open transaction of a
# consumer, and a crash.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use EbSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rotate');
$node->init;
$node->append_conf('postgresql.conf', q{
eventbus.queue_rotate_size = 128kB
eventbus.queue_truncate_delay = 100ms
max_prepared_transactions = 2
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION eventbus;
	SELECT eb_subscribe('plain', '{load.*}', batch_size => 1);
	SELECT eb_subscribe('ordered', '{load.*}', batch_size => 1, ordering => 'aggregate');
	SELECT eb_subscribe('slow', '{slow.*}', batch_size => 1, lease => '1 h');
	CREATE TABLE got (subscription text, "offset" bigint);
	CREATE PROCEDURE take(sub text, n int) LANGUAGE plpgsql AS $$
	DECLARE
		done int := 0;
		receipts bigint[];
		seen bigint[];
	BEGIN
		WHILE done < n LOOP
			SELECT array_agg(DISTINCT receipt), array_agg("offset") INTO receipts, seen FROM eb_fetch(sub, 100, wait => '30 s');
			EXIT WHEN seen IS NULL;
			PERFORM eb_ack(r) FROM unnest(receipts) r;
			INSERT INTO got SELECT sub, unnest(seen);
			COMMIT;
			done := done + cardinality(seen);
		END LOOP;
	END $$;
	CREATE PROCEDURE load(rounds int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. rounds LOOP
			PERFORM eb_emit('load.it', to_jsonb(k), (k % 10)::text) FROM generate_series(1, 100) k;
			COMMIT;
			CALL take('plain', 100);
			CALL take('ordered', 100);
		END LOOP;
	END $$;
});
my $connstr = $node->connstr('postgres');
my $SIZE = q{(SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'eventbus.delivery'::regclass)};
my $HOT = q{pg_total_relation_size('eventbus.progress_0') + pg_total_relation_size('eventbus.progress_1')};
my $holder;

sub hold
{
	$holder = EbSession->connect($connstr, 'holder', time + 30) or die;
	$holder->must('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
}

sub size_falls
{
	my ($what) = @_;
	ok($node->poll_query_until('postgres', "SELECT $SIZE < 400000"), "$what: the queue's space returns")
	  or diag $node->safe_psql('postgres', q{SELECT relname, pg_total_relation_size(oid), reltuples FROM pg_class WHERE relname ~ '^delivery_.$' ORDER BY 1;
		SELECT store, count(*) FROM eventbus.delivery GROUP BY 1; SELECT pid, state, query FROM pg_stat_activity});
}

hold();
$node->safe_psql('postgres', q{SELECT eb_emit('slow.early', '{}'); SELECT eb_emit('slow.later', '{}', deliver_at => now() + interval '1 day')});
my ($receipt, $store) = split /\|/, $node->safe_psql('postgres', q{
	SELECT receipt, d.store FROM eb_fetch('slow', wait => '30 s') f JOIN eventbus.delivery d ON d.seq = f.receipt >> 16});

# Beyond a store's size many times over, until what was fetched early is in another
# store: the relay may rest for ten seconds between two looks at a store.
my ($rounds, $moved, $deadline) = (0, 0, time + 180);
while ($rounds < 40 || (!$moved && time < $deadline))
{
	$node->safe_psql('postgres', 'CALL load(10)');
	$rounds += 10;
	$moved ||= $node->safe_psql('postgres', "SELECT store <> $store FROM eventbus.delivery WHERE seq = $receipt >> 16") eq 't';
}
ok($moved, "a leased delivery was moved, after $rounds hundred events");
size_falls('under a held snapshot');
ok($node->poll_query_until('postgres', "SELECT $HOT < 400000"), "and so does that of the relay's progress");
is($holder->must('SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid() AND backend_xmin IS NOT NULL'), 1,
	'the snapshot was held all the time');
is($node->safe_psql('postgres', "SELECT eb_extend($receipt, '2 h') > now()"), 't', 'a receipt from before is good');
is($node->safe_psql('postgres', "SELECT eb_ack($receipt)"), 1, 'to settle it, too');
is($node->safe_psql('postgres', q{SELECT count(*) FROM eventbus.delivery WHERE lane = 10}), 1, 'what is due tomorrow is still there');

# Loads until the queue takes what eb_health() calls large.
sub grow
{
	my $until = time + 180;
	do { $node->safe_psql('postgres', 'CALL load(5)') }
	  until time > $until || $node->safe_psql('postgres', "SELECT $SIZE > 600000") eq 't';
}

# What a dump locks is not waited for, nor does it make anybody wait.
my $dump = EbSession->connect($connstr, 'dump', time + 30) or die;
$dump->must('BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE eventbus.delivery IN ACCESS SHARE MODE');
my $queued = $dump->must('SELECT count(*) FROM eventbus.delivery');
grow();
is($dump->must('SELECT count(*) FROM eventbus.delivery'), $queued, 'a dump sees one moment');
ok($node->poll_query_until('postgres', sprintf q{SELECT count(*) = 1 FROM eb_health()
	WHERE component = 'queue storage' AND status = 'warn' AND detail ~ 'process %1$s has held a lock' AND hint ~ 'pg_terminate_backend.%1$s.'}, $dump->must('SELECT pg_backend_pid()')),
	'eb_health names the session that keeps the space');
$dump->must('COMMIT');
$node->safe_psql('postgres', 'CALL load(5)');
size_falls('after a dump');
is($node->safe_psql('postgres', q{SELECT status FROM eb_health() WHERE component = 'queue storage'}), 'ok', 'and eb_health says that all is well');

# A prepared transaction has no session that could be seen.
$node->safe_psql('postgres', q{BEGIN; LOCK TABLE eventbus.delivery IN ACCESS SHARE MODE; PREPARE TRANSACTION 'left behind'});
grow();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eb_health()
	WHERE component = 'queue storage' AND status = 'warn' AND detail ~ 'prepared transaction "left behind"' AND hint ~ 'roll it back'}),
	'eb_health names a prepared transaction');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'left behind'});
command_ok([ 'pg_dump', '-d', $connstr, '-f', '/dev/null' ], 'pg_dump');

# A consumer that works in a long transaction.
$node->safe_psql('postgres', q{SELECT eb_emit('slow.work', '{}')});
my $worker = EbSession->connect($connstr, 'worker', time + 30) or die;
$receipt = $worker->must(q{BEGIN; SELECT receipt FROM eb_fetch('slow', wait => '30 s')});
$node->safe_psql('postgres', 'CALL load(10)');
is($worker->must("SELECT eb_ack($receipt); COMMIT"), 1, 'a long transaction settles what it fetched');
$node->safe_psql('postgres', 'CALL load(5)');
size_falls('after a long transaction');

# A crash with rows in more than one store.
$node->safe_psql('postgres', q{SELECT eb_emit('slow.work', '{}')});
$receipt = $node->safe_psql('postgres', q{SELECT receipt FROM eb_fetch('slow', wait => '30 s')});
$node->safe_psql('postgres', 'CALL load(10)');
$node->safe_psql('postgres', q{SELECT count(eb_emit('load.it', to_jsonb(k), (k % 10)::text)) FROM generate_series(1, 500) k});
$_->close for $holder, $dump, $worker;
$node->stop('immediate');
$node->start;
hold();
$node->safe_psql('postgres', q{CALL take('plain', 500); CALL take('ordered', 500); CALL load(10)});
is($node->safe_psql('postgres', "SELECT eb_ack($receipt)"), 1, 'a receipt from before the crash is good');
size_falls('after a crash');
is($node->safe_psql('postgres', q{SELECT subscription, count(*) - (SELECT count(*) FROM eventbus.event WHERE type = 'load.it') AS missing, count(*) - count(DISTINCT "offset") AS twice
	FROM got GROUP BY 1 ORDER BY 1}), "ordered|0|0\nplain|0|0", 'every event came once');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT g."offset", lag(g."offset") OVER (PARTITION BY e.aggregate_id ORDER BY g.ctid) AS before
	FROM got g JOIN eventbus.event e ON e."offset" = g."offset" WHERE g.subscription = 'ordered') s WHERE before > "offset"}), 0, 'and in order');
is($node->safe_psql('postgres', q{SELECT count(*) FROM eventbus.progress p WHERE eb_offset_at(p.at) > p.position + 1}), 0,
	'no time is taken for a later one');
$holder->close;
$node->stop;
done_testing();
