# 6: SIGSTOP the relay for 30 s (a quarter of that in the short form): emitting goes on as before.
use strict;
use warnings;
use Scenario;
use List::Util qw(max);

my $s = Scenario->new(6, 'SIGSTOP the relay');
my $stopped = $s->{seconds} >= 20 ? 30 : 8;
my $node = $s->node;
my $load = $s->load($node)->start;
my $relay = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventbus relay'";
$s->let_run($node, 500);

my ($from, $middle, $to, $pid);
$from = Ledger::now();
select undef, undef, undef, $stopped;
$pid = $s->ask($node, $relay);
kill 'STOP', $pid;
$s->{faults}++;
$middle = Ledger::now();
select undef, undef, undef, $stopped;
my $lag = $s->ask($node, 'SELECT lag FROM eb_stat_bus');
$to = Ledger::now();
kill 'CONT', $pid;

my $checker = $s->heal_and_check($load);
my ($base) = $checker->latency($from, $middle);
my ($while, $n) = $checker->latency($middle, $to);
$s->part($lag > 0, "the relay was $lag offsets behind when it went on");
$s->part($s->ask($node, $relay) == $pid, 'and it is the same relay');
$s->bound(sprintf('emit p99 %.1f ms with the relay stopped (%d transactions), %.1f ms before; ratio', $while * 1000, $n, $base * 1000),
	$while / max($base, 0.0001), 1.2, 'x');
$node->stop('fast');
$s->done;
