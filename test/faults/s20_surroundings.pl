# 20: Worker slots exhausted; settings of database and role that would harm a worker; pgbouncer in transaction mode.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(20, 'worker slots, settings of database and role, pgbouncer');

# Lines a minute that the server wrote about us since a place in its log.
sub lines_a_minute
{
	my ($what, $node, $from, $since) = @_;
	my @lines = grep { /eventbus|relay|worker/ && !/ (STATEMENT|DETAIL|HINT|CONTEXT):/ } split /\n/, substr slurp_file($node->logfile), $from;
	my $minutes = (time - $since) / 60;
	my $allowed = 6 * ($minutes > 1 ? $minutes : 1);
	$s->part(@lines <= $allowed, sprintf '%s: %d lines in the log in %.0f s', $what, scalar @lines, time - $since)
	  or $s->fact(join ' | ', @lines[ 0 .. ($#lines > 9 ? 9 : $#lines) ]);
}

# --- no slot for a relay ---
{
	my $node = $s->node(name => 'slots', conf => "max_worker_processes = 4\nmax_parallel_workers = 0\n");
	# Launcher and logical replication launcher leave two; others take them.
	for my $db (qw(one two))
	{
		$node->safe_psql('postgres', "CREATE DATABASE $db");
		$node->safe_psql($db, 'CREATE EXTENSION eventbus');
	}
	$s->wait_for($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'eventbus relay'");
	my ($from, $since) = (-s $node->logfile, time);
	my $load = $s->load($node)->start;
	$s->let_run($node, 300);
	$s->wait_for($node, q{SELECT status = 'fail' FROM eb_health() WHERE component = 'worker slots'});
	select undef, undef, undef, 1 while time < $since + $s->{seconds};
	$s->part($s->ask($node, 'SELECT lag > 0 FROM eb_stat_bus') eq 't', 'without a slot events are stored and not delivered');
	lines_a_minute('no worker slot', $node, $from, $since);
	$node->safe_psql('postgres', 'DROP DATABASE one');
	my $healed = time;
	$s->wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = 'postgres'");
	$s->bound('the relay comes unaided', time - $healed, 5);
	$s->heal_and_check($load, healed => $healed);
	$node->stop('fast');
}

# --- settings that reach every session of a database or a role, and must not reach workers ---
{
	my $node = $s->node(name => 'settings');
	my $load = $s->load($node);
	my ($from, $since) = (-s $node->logfile, time);
	my %bad = (lock_timeout => "'1ms'", default_transaction_read_only => 'on', search_path => "'nowhere'", "\"TimeZone\"" => "'Pacific/Apia'",
		statement_timeout => "'1ms'", idle_in_transaction_session_timeout => "'1ms'", default_transaction_isolation => "'serializable'",
		row_security => 'off', "\"DateStyle\"" => "'German'", "\"IntervalStyle\"" => "'sql_standard'", synchronous_commit => 'off', work_mem => "'64kB'");
	my ($user) = $node->safe_psql('postgres', 'SELECT current_user');
	$node->safe_psql('postgres', join '', map { "ALTER DATABASE postgres SET $_ = $bad{$_};\nALTER ROLE \"$user\" SET $_ = $bad{$_};\n" } sort keys %bad);
	# The load itself and this program want to go on.
	local $ENV{PGOPTIONS} = join ' ', map { "-c $_" } 'lock_timeout=0', 'default_transaction_read_only=off', 'search_path=public', 'statement_timeout=0',
	  'idle_in_transaction_session_timeout=0', 'default_transaction_isolation=read\ committed';
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eventbus relay'});
	$load->start;
	$s->let_run($node, 500);
	$s->part($s->ask($node, q{SELECT count(*) FROM eb_health() WHERE component = 'relay' AND status <> 'ok'}) eq '0', 'the relay is well');
	$s->heal_and_check($load);
	lines_a_minute('settings of database and role', $node, $from, $since);
	$node->stop('fast');
}

# --- pgbouncer, transactions pooled over few connections ---
{
	my $program = $ENV{EB_PGBOUNCER} // (grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', ($ENV{EVENTBUS_CHROOTS} // '/var/cache/eventbus') . '/programs/usr/sbin')[0];
	if (!$program || !-x $program)
	{
		$s->skip_part('pgbouncer in transaction mode', 'pgbouncer is not there (Debian: pgbouncer), nor does EB_PGBOUNCER name it');
		$s->done;
		exit 0;
	}
	my $node = $s->node(name => 'pooled');
	my $load = $s->load($node, consumers => 8);
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $port = $node->port;
	my ($user) = $node->safe_psql('postgres', 'SELECT current_user');
	append_to_file("$dir/pgbouncer.ini", "[databases]\n* = host=" . $node->host . " port=$port user=$user\n[pgbouncer]\nlisten_addr =\nlisten_port = $port\n"
		. "unix_socket_dir = $dir\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 6\nmax_client_conn = 200\n"
		. "ignore_startup_parameters = extra_float_digits,options\nlogfile = $dir/log\npidfile = $dir/pid\nlog_connections = 0\nlog_disconnections = 0\n");
	my $bouncer = fork() // die $!;
	if (!$bouncer)
	{
		open STDERR, '>', "$dir/err";
		exec $program, "$dir/pgbouncer.ini";
		exit 1;
	}
	# From here on the load goes through it; the checker does not.
	append_to_file("$load->{folder}/connstr.new", "port=$port host=$dir dbname=postgres user=$user");
	rename "$load->{folder}/connstr.new", "$load->{folder}/connstr" or die $!;
	my $before = $s->{events};
	$load->start;
	$s->let_run($node, 500);
	my $backends = $s->ask($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^(producer|consumer|reader)'});
	$s->part($backends <= 6, "$backends connections for the whole load");
	$s->heal_and_check($load);
	kill 'TERM', $bouncer;
	waitpid $bouncer, 0;
	$s->part($s->{events} - $before > 100, ($s->{events} - $before) . ' events went through pgbouncer')
	  or $s->fact('pgbouncer said: ' . join ' | ', (split /\n/, slurp_file("$dir/err"))[ -5 .. -1 ]);
	$node->stop('fast');
}
$s->done;
