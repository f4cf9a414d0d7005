# Who is late: a transaction that emitted first and commits last, a consumer that
# stops past its lease, a relay that stops.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EbBound;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use EbSession;

my $node = PostgreSQL::Test::Cluster->new('straggler');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\neventbus.segment_events = 5000\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION eventbus');
$node->safe_psql('postgres', q{SELECT eb_subscribe('all', lease => '1 min');
	SELECT eb_subscribe('straggler', '{late.*}'); SELECT eb_subscribe('fence', '{fence.*}', max_attempts => 100000)});
my $connstr = $node->connstr('postgres');
my $relay = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventbus relay'";
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($relay) r") or die 'no relay';

# A straggler emits first and commits after 20,000 others.
my $late = EbSession->new($connstr, 'straggler');
my $others = EbSession->new($connstr, 'others');
my $reader = EbSession->new($connstr, 'reader');
my $consumer = EbSession->new($connstr, 'consumer');
$late->must("BEGIN;\nSELECT eb_emit('late.one', '{}')");
my $position = 0;
my %seen;

sub read_on
{
	my $new = 0;
	foreach (split /\n/, $reader->must(qq{SELECT "offset", event_id FROM eb_read($position + 1, 5000)}))
	{
		my ($offset, $id) = split /\|/;
		die "offset $offset after $position" if $offset <= $position;
		$position = $offset;
		$seen{$id}++;
		$new++;
	}
	return $new;
}

foreach (1 .. 200)
{
	$others->must("SELECT count(eb_emit('other.one', '{}')) FROM generate_series(1, 100)");
	read_on() if $_ % 10 == 0;
}
1 while read_on();
is(scalar(keys %seen), 20000, 'a straggler holds nobody back');
$consumer->send(q{SELECT count(*) FROM eb_fetch('straggler', wait => '20 s')});
my $start = time;
$late->must('COMMIT');
is($consumer->receive, 1, 'the straggler is delivered');
within(time - $start, 1, 'soon after its commit');
read_on();
is(scalar(keys %seen), 20001, 'and seen by a reader that has passed all others');

# Everything reaches the other subscription, each event once.
sub drain
{
	my ($name, $expected) = @_;
	my %got;
	my $deadline = time + 30;
	while (keys %got < $expected && time < $deadline)
	{
		my $rows = $consumer->must(qq{WITH f AS MATERIALIZED (SELECT receipt, event_id FROM eb_fetch('$name', 5000, wait => '100 ms')),
			a AS MATERIALIZED (SELECT eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM f) r)
			SELECT event_id FROM f, (SELECT count(*) FROM a) n});
		$got{$_}++ foreach split /\n/, $rows;
	}
	my $twice = grep { $_ > 1 } values %got;
	return scalar(keys %got) . " events, $twice twice";
}
is(drain('all', 20001), '20001 events, 0 twice', 'nothing is lost');

# A consumer stops past its lease, wakes up and settles: another has taken over.
# 20 rounds of a real SIGSTOP, of 10 deliveries each.
my ($accepted, $tries) = (0, 0);
my $stopped = EbSession->new($connstr, 'stopped');
my $pid = $stopped->backend;
$others->must(q{SELECT count(eb_emit('fence.one', to_jsonb(i))) FROM generate_series(1, 10) i});
foreach my $round (1 .. 20)
{
	my %of;    # the receipt of each event
	my $deadline = time + 20;
	while (keys %of < 10 && time < $deadline)
	{
		foreach (split /\n/, $stopped->must("SELECT event_id, receipt FROM eb_fetch('fence', 100, lease => '100 ms', wait => '5 s')"))
		{
			my ($id, $receipt) = split /\|/;
			$of{$id} = $receipt;
		}
	}
	kill 'STOP', $pid;
	# It is stopped while it is at work, or before.
	my %receipts = map { $_ => 1 } values %of;
	my @calls = map { my $r = $_; map { "SELECT $_" } "eb_ack($r)", "eb_nack($r)", "eb_extend($r)" } sort keys %receipts;
	my %taken;
	while (keys %taken < 10 && time < $deadline)
	{
		foreach (split /\n/, $consumer->must("SELECT event_id, receipt FROM eb_fetch('fence', 100, lease => '1 min', wait => '5 s')"))
		{
			my ($id, $receipt) = split /\|/;
			$taken{$id} = $receipt;
		}
	}
	kill 'CONT', $pid;
	foreach my $call (@calls)
	{
		$tries++;
		my $rows = $stopped->query($call);
		$accepted++ if defined $rows || $stopped->{state} ne '55000';
	}
	# The rightful owner gives them back for the next round.
	my %again = map { $_ => 1 } values %taken;
	$consumer->must("SELECT eb_nack($_, retry_after => '0')") foreach keys %again;
}
cmp_ok($tries, '>=', 200, "$tries tries with a stale receipt");
is($accepted, 0, 'F = 0');
is(drain('fence', 10), '10 events, 0 twice', 'and nothing is lost of it');

# A stopped relay: emitting goes on, and nothing is lost.
$pid = $node->safe_psql('postgres', $relay);
kill 'STOP', $pid;
my ($n, $slowest) = (0, 0);
my $until = time + 3;
while (time < $until)
{
	my $begun = time;
	$others->must("SELECT count(eb_emit('other.two', '{}')) FROM generate_series(1, 10)");
	$slowest = time - $begun if time - $begun > $slowest;
	$n += 10;
}
kill 'CONT', $pid;
note sprintf '%d events while the relay was stopped, the slowest ten in %.3f s', $n, $slowest;
# The fence's and the straggler's events are among them.
is(drain('all', $n + 10), ($n + 10) . ' events, 0 twice', 'all are delivered, each once');
is($node->safe_psql('postgres', $relay), $pid, 'by the same relay');
$_->close foreach $late, $others, $reader, $consumer, $stopped;
$node->stop('fast');
done_testing();
