# 3: SIGKILL backends that emit, fetch and acknowledge.
use strict;
use warnings;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(3, 'SIGKILL emitting and acking backends');
my $node = $s->node;
my $load = $s->load($node)->start;
my $until = time + $s->{seconds};
my ($kills, $missed) = (0, 0);
my @victims = ("application_name LIKE 'producer%' AND state <> 'idle'", "application_name LIKE 'consumer%'",
	"application_name LIKE 'producer%' AND wait_event_type IS NOT NULL", "application_name LIKE 'consumer%' AND query LIKE '%eb_ack%'");
do
{
	$s->let_run($node, 50 + int rand 200);
	# With -DEB_FAULTS also where offsets are reserved, and where the rows are written.
	if ($ENV{EB_FAULTS} && $kills % 3 == 2)
	{
		$kills++ if defined $s->kill_at($node, rand() < 0.5 ? 'after_reserve' : 'after_flush');
	}
	elsif ($s->kill_one($node, $victims[ $kills % @victims ])) { $kills++; }
	else { $missed++; }
} while (($kills < 3 || time < $until) && $missed < 50);
$s->part($kills >= 3, "$kills backends were killed");
$s->let_run($node, 100);
$s->heal_and_check($load);
$node->stop('fast');
$s->done;
