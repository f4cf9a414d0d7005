# 2: SIGKILL the postmaster and all of its children under load, again and again.
use strict;
use warnings;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(2, 'SIGKILL the postmaster and all children');
my $node = $s->node;
my $load = $s->load($node)->start;

my $until = time + $s->{seconds};
my $kills = 0;
my $down = 0;
do
{
	$s->let_run($node, 100 + int rand 500);
	my $start = time;
	$s->kill_all($node);
	$s->wait_up($node);
	$down = time - $start if time - $start > $down;
	$kills++;
} while ($kills < 2 || time < $until);
$s->fact(sprintf '%d kills, longest time to a new connection %.2f s', $kills, $down);
$s->let_run($node, 100);

$s->heal_and_check($load);
$node->stop('fast');
$s->done;
