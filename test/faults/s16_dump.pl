# 16: pg_dump mid-traffic into a younger cluster.
use strict;
use warnings;
use Scenario;

my $s = Scenario->new(16, 'pg_dump mid-traffic into a younger cluster');
$s->tap('210_dump');
$s->done;
