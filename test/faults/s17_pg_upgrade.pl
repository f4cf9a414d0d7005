# 17: pg_upgrade with a backlog.
use strict;
use warnings;
use Scenario;

my $s = Scenario->new(17, 'pg_upgrade with a backlog');
$s->tap('240_pg_upgrade', BACKLOG => $s->{short} ? 5_000 : 100_000);
$s->skip_part('from 15 to 18', 'needs both servers: tools/test-upgrade 18, as root');
$s->done;
