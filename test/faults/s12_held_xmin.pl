# 12: xmin held by a repeatable-read transaction, then by an idle slot: short form of the benchmark.
use strict;
use warnings;
use Scenario;
use List::Util qw(max);
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);

my $s = Scenario->new(12, 'xmin held, short form');
my $rounds = $s->{short} ? 1 : 3;
my $seconds = max($s->{seconds} / 2, 5);
my $rate = 2000;
my $node = $s->node(init => { allows_streaming => 1 }, conf => "eventbus.queue_rotate_size = 1MB\nwal_keep_size = 8GB\n");
$node->safe_psql('postgres', 'CREATE DATABASE beside');
$node->safe_psql($_, q{CREATE EXTENSION eventbus; SELECT eb_subscribe('held', '{held.*}')}) foreach qw(postgres beside);

# Emits at the rate and consumes for a while; events a second, fetch p99, bytes of the queue.
sub measure
{
	my ($db) = @_;
	my $connstr = $node->connstr($db);
	my $emitter = EbSession::in_child(sub {
		my $session = EbSession->new($connstr, 'emitter');
		my ($begin, $n) = (time, 0);
		until (time - $begin > $seconds)
		{
			$session->must("SELECT count(eb_emit('held.one', '{}')) FROM generate_series(1, 20)");
			$n += 20;
			my $early = $begin + $n / $rate - time;
			select undef, undef, undef, $early if $early > 0;
		}
		$session->close;
	});
	my $session = EbSession->new($connstr, 'consumer');
	my ($begin, $events, @fetch) = (time, 0);
	my $size = 0;
	until (time - $begin > $seconds)
	{
		my $start = time;
		my @rows = split /\n/, $session->must(q{SELECT receipt, count(*) FROM eb_fetch('held', 100) GROUP BY 1});
		push @fetch, time - $start if @rows;
		select(undef, undef, undef, 0.001), next unless @rows;
		foreach (@rows)
		{
			my ($receipt, $n) = split /\|/;
			$session->must("SELECT eb_ack($receipt)");
			$events += $n;
		}
		$size = max($size, $session->must(q{SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('eventbus.delivery') WHERE isleaf}))
		  if @fetch % 100 == 0;
	}
	my $rate = $events / (time - $begin);
	EbSession::wait_children($emitter);
	# What is left belongs to nobody's measure.
	while (my $n = $session->must(q{SELECT count(eb_ack(r)) FROM (SELECT DISTINCT receipt r FROM eb_fetch('held', 1000, wait => '200 ms')) x})) { }
	$session->close;
	@fetch = sort { $a <=> $b } @fetch;
	return ($rate, $fetch[ $#fetch * 0.99 ] // 0, $size);
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ $#sorted / 2 ];
}

# Rounds of (rate, p99, size), each with the free one that belongs to it.
sub compare
{
	my ($what, $free, $held) = @_;
	my ($rate, $p99) = map { my $k = $_; median(map { $free->[$_][$k] && $held->[$_][$k] / $free->[$_][$k] } 0 .. $#$held) } 0, 1;
	my $size = max(map { $_->[2] } @$held);
	$s->fact("$what, events/s, fetch p99 in ms, queue in kB: " . join '; ', map { sprintf '%.0f, %.2f, %.0f (free %.0f, %.2f, %.0f)',
		map { ($_->[0], $_->[1] * 1000, $_->[2] / 1024) } $held->[$_], $free->[$_] } 0 .. $#$held);
	$s->bound("$what: free throughput over held", 1 / max($rate, 0.001), 1 / 0.95, 'x');
	$s->bound("$what: fetch p99 held over free", $p99, 1.5, 'x');
	$s->part($size <= 16 * 1024 * 1024, sprintf '%s: the queue is bounded: %.1f MB', $what, $size / 1048576);
	$s->{events} += int($seconds * $_->[0]) foreach @$free, @$held;
	$s->{faults}++;
}

# What a standby that sends feedback leaves when it goes away: an idle slot that holds xmin.
my $standby = PostgreSQL::Test::Cluster->new('away');
$node->backup('away');
$standby->init_from_backup($node, 'away', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'idle'\nhot_standby_feedback = on\nwal_receiver_status_interval = 1\n");

sub leave_slot
{
	$node->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('idle', true)");
	$standby->start;
	$s->wait_for($node, "SELECT xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'idle'");
	$standby->stop('fast');
	$s->wait_for($node, "SELECT NOT active AND xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'idle'");
}

# In both databases at the same time: whatever else the machine does falls on both alike.
sub measure_both
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/beside';
	my $child = EbSession::in_child(sub {
		my @beside = measure('beside');
		append_to_file($file, join ' ', @beside);
	});
	my @here = measure('postgres');
	die 'no measure' if EbSession::wait_children($child);
	return (\@here, [ split / /, slurp_file($file) ]);
}

measure_both();    # warm
my (@free, @held, @before, @slot);
foreach (1 .. $rounds)
{
	# A transaction holds the xmin of its own database only.
	my $holder = EbSession->new($node->connstr('beside'), 'holder');
	$holder->must('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current(), count(*) FROM pg_class');
	my ($free, $held) = measure_both();
	$holder->must('COMMIT');
	$holder->close;
	push @free, $free;
	push @held, $held;
	push @before, [ measure('postgres') ];
	leave_slot();
	push @slot, [ measure('postgres') ];
	$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('idle')");
}
compare('a repeatable-read transaction', \@free, \@held);
compare('an idle slot', \@before, \@slot);
$s->count('Q', $node->safe_psql('postgres', 'SELECT queued FROM eb_stat_bus'), 'events are still queued');
$s->tap('245_rotate');
$s->skip_part('minutes at 2,000 events/s, plotted, beside PgQ', 'that is make bench MEASURE=held');
$node->stop('fast');
$s->done;
