# 5: stop fast and immediate in full flow.
use strict;
use warnings;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(5, 'stop fast and immediate in full flow');
my $node = $s->node;
my $load = $s->load($node)->start;
my $until = time + $s->{seconds};
my %longest = (fast => 0, immediate => 0);
my $stops = 0;
do
{
	foreach my $how (qw(fast immediate))
	{
		$s->let_run($node, 100 + int rand 300);
		my $start = time;
		$node->stop($how);
		$longest{$how} = time - $start if time - $start > $longest{$how};
		$node->start;
		$stops++;
		$s->{faults}++;
	}
} while (time < $until);
$s->bound('a fast stop in full flow takes', $longest{fast}, 5);
$s->fact(sprintf '%d stops; an immediate one takes %.2f s at most', $stops, $longest{immediate});
$s->let_run($node, 100);
$s->heal_and_check($load);
$node->stop('fast');
$s->done;
