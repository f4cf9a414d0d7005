# 1: SIGKILL the relay at each of its fault points: after the scan, before and after its commit.
use strict;
use warnings;
use Scenario;
use List::Util qw(max);

my $s = Scenario->new(1, 'SIGKILL the relay at each fault point');
my $node = $s->node;
my $load = $s->load($node)->start;
my $each = $ENV{EB_KILLS} || ($s->{short} ? 1 : 20);
my @took;

foreach my $k (1 .. $each)
{
	foreach my $point (qw(relay_after_scan relay_before_commit relay_after_commit))
	{
		$s->let_run($node, 50 + int rand 200);
		my $took = $s->kill_at($node, $point);
		$s->part(0, "no relay came to $point"), next unless defined $took;
		push @took, $took;
	}
}
$s->bound('the relay is back after', max(@took, 0), 5);
$s->fact(sprintf '%d kills, the relay back after %.2f s on average', scalar @took, @took ? eval { my $t = 0; $t += $_ foreach @took; $t / @took } : 0);
$s->let_run($node, 100);
$s->heal_and_check($load);
$node->stop('fast');
$s->done;
