# 0: no fault at all: what the checker sees in the plain load.
use strict;
use warnings;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(0, 'no fault');
my $node = $s->node;
my $load = $s->load($node)->start;
my $until = time + $s->{seconds};
do { $s->let_run($node, 500) } while (time < $until);
$s->heal_and_check($load);
$node->stop('fast');
$s->done;
