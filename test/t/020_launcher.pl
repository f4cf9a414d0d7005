# The launcher keeps one relay per database that has the extension.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EbBound;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('launcher');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'eventbus'\nmax_worker_processes = 24\nautovacuum = off\n");
$node->start;

my $relays = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventbus relay'";

sub relay_runs
{
	my ($db, $what) = @_;
	my $start = time;
	ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = '$db' AND state = 'idle'"),
		$what);
	return time - $start;
}

sub no_relay
{
	my ($db, $what) = @_;
	ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = '$db'"),
		$what);
}

ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus launcher'"),
	'the launcher runs');

# Several databases at once.
my @dbs = map { "bus$_" } 1 .. 5;
$node->safe_psql('postgres', "CREATE DATABASE $_") for @dbs;
$node->safe_psql($_, 'CREATE EXTENSION eventbus') for @dbs;
my $created = time;
relay_runs($_, "CREATE EXTENSION started a relay in $_") for @dbs;
my $took = time - $created;
within($took, 2, 'five relays after the last CREATE EXTENSION');
is($node->safe_psql('postgres', $relays), 5, 'and none elsewhere');

# One that is rolled back.
$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION eventbus; ROLLBACK');
no_relay('postgres', 'no relay after CREATE EXTENSION was rolled back');

# DROP EXTENSION, and again CREATE EXTENSION.
for my $round (1 .. 3)
{
	$node->safe_psql('bus1', 'DROP EXTENSION eventbus CASCADE');
	no_relay('bus1', "DROP EXTENSION ended the relay, round $round");
	$node->safe_psql('bus1', 'CREATE EXTENSION eventbus');
	relay_runs('bus1', "CREATE EXTENSION brought it back, round $round");
}
$node->safe_psql('bus1', 'DROP EXTENSION eventbus; CREATE EXTENSION eventbus') for 1 .. 5;
relay_runs('bus1', 'there is a relay after DROP and CREATE in quick succession');

# DROP EXTENSION in a transaction that takes its time, with events under way.
{
	$node->safe_psql('bus1', "SELECT eb_subscribe('s'); SELECT eb_emit('a.b', '1') FROM generate_series(1, 1000)");
	my ($in, $out, $timer) = ('', '', IPC::Run::timeout(60));
	my $h = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('bus1') ], \$in, \$out, $timer);
	$in = "BEGIN; DROP EXTENSION eventbus; SELECT 'dropped';\n";
	$h->pump until $out =~ /dropped/;
	ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = 'bus1' AND wait_event_type = 'Lock'"),
		'the relay waits for an open DROP EXTENSION');
	$in = "ROLLBACK; SELECT 'rolled';\n";
	$h->pump until $out =~ /rolled/;
	relay_runs('bus1', 'and goes on when it is rolled back');
	$in = "BEGIN; DROP EXTENSION eventbus; SELECT 'again';\n";
	$h->pump until $out =~ /again/;
	$in = "COMMIT;\n\\q\n";
	$h->finish;
	no_relay('bus1', 'and leaves when it is committed');
	$node->safe_psql('bus1', 'CREATE EXTENSION eventbus');
}

# A dump restored into another database has a relay.
{
	my $dump = $node->basedir . '/bus2.sql';
	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('bus2') ], 'dump');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restore');
	relay_runs('restored', 'a restored dump has a relay');
	$node->safe_psql('postgres', 'DROP DATABASE restored');
}

# The setting.
$node->append_conf('postgresql.conf', 'eventbus.relay = off');
$node->reload;
ok($node->poll_query_until('postgres', "SELECT ($relays) = 0"), 'eventbus.relay = off ends the relays');
$node->append_conf('postgresql.conf', 'eventbus.relay = on');
$node->reload;
ok($node->poll_query_until('postgres', "SELECT ($relays) = 5"), 'eventbus.relay = on starts them');

# A restart finds them all.
$node->restart;
ok($node->poll_query_until('postgres', "SELECT ($relays) = 5"), 'all relays are back after a restart');
unlike(slurp_file($node->logfile), qr/ (?:ERROR|WARNING|PANIC): /, 'nothing to complain about in the log');

my $start = time;
$node->stop('fast');
within(time - $start, 5, 'a fast stop is fast');
done_testing();
