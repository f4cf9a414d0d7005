# 12: xmin held by a repeatable-read transaction, then by an idle slot: short form of the benchmark.
use strict;
use warnings;
use Scenario;
use List::Util qw(max);
use Time::HiRes qw(time);

my $s = Scenario->new(12, 'xmin held, short form');
my $seconds = max($s->{seconds}, 5);
my $rate = 2000;
my $node = $s->node(init => { allows_streaming => 'logical' }, conf => "eventbus.queue_rotate_size = 1MB\n");
$node->safe_psql('postgres', q{CREATE EXTENSION eventbus; SELECT eb_subscribe('held', '{held.*}')});
my $connstr = $node->connstr('postgres');

# Emits at the rate and consumes for a while; events a second, fetch p99, bytes of the queue.
sub measure
{
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
	$s->{events} += $events;
	return ($rate, $fetch[ $#fetch * 0.99 ] // 0, $size);
}

sub compare
{
	my ($what, $free, $held) = @_;
	$s->fact(sprintf '%s: %.0f events/s, fetch p99 %.2f ms, queue %.0f kB; free: %.0f, %.2f ms, %.0f kB', $what,
		$held->[0], $held->[1] * 1000, $held->[2] / 1024, $free->[0], $free->[1] * 1000, $free->[2] / 1024);
	$s->bound("$what: free throughput over held", $free->[0] / max($held->[0], 1), 1 / 0.95, 'x');
	$s->bound("$what: fetch p99 held over free", $held->[1] / max($free->[1], 0.0001), 1.5, 'x');
	$s->part($held->[2] <= 16 * 1024 * 1024, sprintf '%s: the queue is bounded: %.1f MB', $what, $held->[2] / 1048576);
	$s->{faults}++;
}

measure();    # warm
my @free = measure();
my $holder = EbSession->new($connstr, 'holder');
$holder->must("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current(), count(*) FROM pg_class");
my @held = measure();
$holder->must('COMMIT');
compare('a repeatable-read transaction', \@free, \@held);
$holder->must("SELECT pg_create_logical_replication_slot('idle', 'pgoutput')");
@held = measure();
$holder->must("SELECT pg_drop_replication_slot('idle')");
compare('an idle slot', \@free, \@held);
$holder->close;
$s->count('Q', $node->safe_psql('postgres', 'SELECT queued FROM eb_stat_bus'), 'events are still queued');
$s->tap('245_rotate');
$s->skip_part('minutes at 2,000 events/s, plotted, beside PgQ', 'that is make bench MEASURE=held');
$node->stop('fast');
$s->done;
