# 18: ALTER EXTENSION UPDATE under load, library and SQL one version apart.
use strict;
use warnings;
use Scenario;

my $s = Scenario->new(18, 'ALTER EXTENSION UPDATE under load, library and SQL one version apart');
$s->tap('250_update');
$s->done;
