# Retention: what may go, what keeps a segment, and that nothing is waited for.
use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('retention');
$node->init;
$node->append_conf('postgresql.conf', "eventbus.segment_events = 100\neventbus.relay = off\neventbus.retention = '1 h'\neventbus.max_retention = '30 h'\neventbus.retention_action = detach\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION eventbus; CREATE EXTENSION pgtap');
my ($out, $err);
IPC::Run::run([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$FindBin::RealBin/230_retention.sql" ],
	'>', \$out, '2>', \$err);
is($err, '', 'no errors');
for my $line (split /\n/, $out)
{
	ok($1 eq 'ok', $2) if $line =~ /^((?:not )?ok) \d+ - (.*)/;
	diag $line if $line =~ /^# /;
}

# A reader that stays keeps a segment, and keeps nobody waiting.
$node->append_conf('postgresql.conf', "eventbus.relay = on\neventbus.retention_action = drop\neventbus.retention = '1 s'\n");
$node->restart;
$node->safe_psql('postgres', q{SELECT eb_unsubscribe(name) FROM eventbus.subscription});
$node->safe_psql('postgres', q{SELECT eb_emit('order.placed', '{}') FROM generate_series(1, 120)});
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM eb_read(1)');
my $from = -s $node->logfile;
my $held = $node->safe_psql('postgres', q{SELECT min("offset") FROM eventbus.event});
$node->safe_psql('postgres', q{SELECT eb_emit('order.placed', '{}') FROM generate_series(1, 300)});
ok( $node->poll_query_until('postgres', qq{SELECT eventbus.retention_verdict(e.tableoid, $held, $held + 1) = 'drop'
	FROM eventbus.event e WHERE e."offset" = $held}), 'a segment is due');
my $passes = $node->safe_psql('postgres', 'SELECT passes FROM eventbus.stat_database() WHERE is_current');
$node->safe_psql('postgres', q{SELECT eb_emit('order.placed', '{}')});
ok($node->poll_query_until('postgres', "SELECT passes > $passes + 2 FROM eventbus.stat_database() WHERE is_current"), 'the relay goes on');
is($node->safe_psql('postgres', q{SELECT min("offset") FROM eventbus.event}), $held, 'what is being read stays');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted}), 0, 'nobody waits');
$reader->query_safe('COMMIT');
$reader->quit;
ok($node->poll_query_until('postgres', qq{SELECT NOT EXISTS (SELECT FROM eventbus.event WHERE "offset" = $held)}), 'and goes when the reader has');
$node->stop;
done_testing();
