# Relays come back: after a kill, an error, without worker slots; and none runs
# on a standby.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EbBound;
use EbSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('faults');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'eventbus'\nmax_worker_processes = 8\nrestart_after_crash = on\nautovacuum = off\n");
$node->start;

my $relay = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = 'postgres'";

# Waits for a relay other than this one.
sub new_relay
{
	my ($old) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($relay AND pid <> $old) r")
	  or die 'no new relay';
	return $node->safe_psql('postgres', $relay);
}

# How many lines of the log match, from this place on.
sub count_log
{
	my ($pattern, $from) = @_;
	my @lines = grep { $_ =~ $pattern } split /\n/, slurp_file($node->logfile, $from);
	return scalar @lines;
}

# Waits for a relay other than this one while the server goes down and comes back,
# where psql would end before it has read the query.
sub relay_after_crash
{
	my ($old) = @_;
	my $deadline = time + 60;
	while (time < $deadline)
	{
		my $s = EbSession->connect($node->connstr('postgres'), 'after crash', $deadline) or last;
		my $pid = $s->query($relay);
		$s->close;
		return if defined $pid && $pid =~ /^\d+$/ && $pid != $old;
		select undef, undef, undef, 0.02;
	}
	die 'no relay after the crash';
}

$node->safe_psql('postgres', 'CREATE EXTENSION eventbus');
my $pid = new_relay(0);

# Terminated: another one at once, and again soon when it happens again.
for my $round (1 .. 3)
{
	my $from = -s $node->logfile;
	my $start = time;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$pid = new_relay($pid);
	within(time - $start, 2, 'a terminated relay is replaced');
	is(count_log(qr/FATAL:.*eventbus relay/, $from), 1, 'with one line in the log');
}

# Killed: the whole cluster restarts, and the relay with it.
my $start = time;
kill 'KILL', $pid;
relay_after_crash($pid);
within(time - $start, 10, 'the relay is back after a SIGKILL');

# The launcher terminated: it comes back, and adopts the relay.
$pid = $node->safe_psql('postgres', $relay);
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eventbus launcher'");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus launcher'"),
	'the launcher is back');
is($node->safe_psql('postgres', $relay), $pid, 'the relay was not touched');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
new_relay($pid);
pass('and the new launcher replaces a relay that it has not started');

# Hostile settings on the database.
$node->safe_psql('postgres', "SELECT eb_subscribe('s')");
$node->safe_psql('template1', "ALTER DATABASE postgres SET $_")
  for "lock_timeout = '1ms'", "statement_timeout = '1ms'", 'default_transaction_read_only = on',
  "search_path = 'nowhere'", "timezone = 'Pacific/Kiritimati'", "role = 'pg_monitor'", "session_replication_role = replica";
$pid = $node->safe_psql('template1', $relay);
$node->safe_psql('template1', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('template1', "SELECT count(*) = 1 FROM ($relay AND pid <> $pid AND state = 'idle') r"),
	'a relay runs with hostile settings on the database');
$node->safe_psql('template1', 'ALTER DATABASE postgres RESET ALL');
$node->safe_psql('postgres', "SELECT eb_emit('a.b', '1')");
is($node->safe_psql('postgres', "SELECT type FROM eb_fetch('s', wait => '10 s')"), 'a.b', 'and delivers');

# More databases than worker slots: 8, of which launcher, logical replication
# launcher and one relay take three.
my $from = -s $node->logfile;
my @dbs = map { "db$_" } 1 .. 7;
for my $db (@dbs)
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION eventbus');
}
ok($node->poll_query_until('postgres', "SELECT count(*) = 6 FROM pg_stat_activity WHERE backend_type = 'eventbus relay'"),
	'as many relays as there are worker slots');
$node->wait_for_log(qr/HINT:  Raise max_worker_processes \(now 8\)/, $from);
$node->safe_psql('postgres', "DROP DATABASE $_") for $node->safe_psql('postgres',
	"SELECT datname FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname <> 'postgres' LIMIT 2") =~ /\w+/g;
my $idle = "SELECT count(*) = 0 FROM pg_database d WHERE datname ~ '^db|^postgres' AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE datid = d.oid AND backend_type = 'eventbus relay')";
ok($node->poll_query_until('postgres', $idle), 'every database has a relay once slots are free');
$node->wait_for_log(qr/slots for eventbus relays are free again/, $from);
is(count_log(qr/WARNING: .*no background worker slot is free/, $from), 1, 'there was one warning, not one a try');
$node->safe_psql('postgres', "DROP DATABASE IF EXISTS $_") for @dbs;

# A standby has no relay until it is promoted.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eventbus%'"),
	0, 'no worker of ours on a standby');
$start = time;
$standby->promote;
ok($standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($relay) r"), 'a relay runs after the promotion');
within(time - $start, 5, 'soon after it');
unlike(slurp_file($standby->logfile), qr/(?:ERROR|WARNING|PANIC): /, 'nothing to complain about in its log');

$standby->stop('fast');
$node->stop('fast');

# Single-user mode, and no preload: nothing of ours runs, nothing breaks.
my $single = "CREATE DATABASE one TEMPLATE postgres\nDROP DATABASE one\n";
my $result = IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ],
	'<', \$single, '>', \my $stdout, '2>', \my $stderr);
ok($result, 'single-user mode works');
unlike($stderr, qr/ERROR|FATAL/, 'without an error');
done_testing();
