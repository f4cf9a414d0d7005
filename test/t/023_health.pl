# eb_health() tells what is wrong, and what to do.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('health');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'eventbus'\nmax_worker_processes = 4\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION eventbus');

# Waits until the component's row matches.
sub health
{
	my ($component, $status, $like, $what, $on) = @_;
	$on ||= $node;
	ok( $on->poll_query_until('postgres',
			"SELECT count(*) = 1 FROM eb_health() WHERE component = '$component' AND status = '$status' AND concat(detail, ' ', hint) ~ '$like'"),
		"$component: $what")
	  or diag $on->safe_psql('postgres', 'SELECT * FROM eb_health()');
}

health('relay', 'ok', 'process [0-9]+', 'ok while it runs');
is($node->safe_psql('postgres', "SELECT count(*) FROM eb_health() WHERE status <> 'ok'"), 0, 'all is well');

$node->append_conf('postgresql.conf', 'eventbus.relay = off');
$node->reload;
health('relay', 'warn', 'eventbus.relay = on', 'warns when it is switched off');
$node->append_conf('postgresql.conf', 'eventbus.relay = on');
$node->reload;
health('relay', 'ok', 'process', 'ok when it is on again');

# Worker slots: 4 = launcher, logical replication launcher, two relays.
for my $db (qw(one two))
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION eventbus');
}
health('worker slots', 'fail', 'Raise max_worker_processes .now 4', 'fails when they are used up');
$node->safe_psql('postgres', "DROP DATABASE $_") for qw(one two);
health('worker slots', 'ok', '', 'ok again');

# The relay fails, is tried again and again, with one line a cause, and recovers
# by itself once the cause is gone.
my $from = -s $node->logfile;
$node->safe_psql('postgres', q{SELECT eb_emit('a.b', '1'); SELECT eb_subscribe('broken'); UPDATE eventbus.subscription SET topics = '{a..b}'});
ok($node->poll_query_until('postgres', 'SELECT relay_failures >= 3 FROM eventbus.stat_database()'), 'the relay fails again and again');
health('relay', 'fail', 'failed [0-9]+ times in a row', 'fails, and shows the error');
my @errors = grep { / ERROR: / } split /\n/, slurp_file($node->logfile, $from);
is(scalar @errors, 1, 'the cause is logged once');
$node->safe_psql('postgres', q{UPDATE eventbus.subscription SET topics = '{a.b}'; SELECT eb_unsubscribe('broken')});
ok($node->poll_query_until('postgres', "SELECT relay_state = 'running' FROM eventbus.stat_database()"), 'the relay recovers by itself');
health('relay', 'warn', 'after [0-9]+ failures', 'warns for a while');
health('relay', 'ok', 'process', 'ok once it has run a while');
like(slurp_file($node->logfile, $from), qr/eventbus relay of database "postgres" runs again after [0-9]+ failures/, 'and the log says so');

# A standby.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
health('relay', 'ok', 'standby', 'none on a standby, and that is well', $standby);
health('launcher', 'ok', 'standby', 'nor a launcher', $standby);
$standby->stop('fast');

# Without the library in shared_preload_libraries.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
my $rows = $node->safe_psql('postgres', 'SELECT component, status, hint FROM eb_health() LIMIT 1');
is($rows, 'preload|fail|Add eventbus to shared_preload_libraries and restart the server.', 'not preloaded: the first row says so');
$node->safe_psql('postgres', 'SELECT * FROM eb_metrics(), eb_stat_bus, eb_stat_relay, eb_stat_subscription, eb_stat_consumer');
my ($rc, $out, $err) = $node->psql('postgres', 'CREATE DATABASE late');
($rc, $out, $err) = $node->psql('late', 'CREATE EXTENSION eventbus');
like($err, qr/WARNING:  eventbus is not loaded at server start/, 'CREATE EXTENSION warns');
is($rc, 0, 'and works');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'eventbus'");
$node->restart;
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'eventbus relay'"),
	'after a restart with it both databases have a relay');
$node->stop('fast');
done_testing();
