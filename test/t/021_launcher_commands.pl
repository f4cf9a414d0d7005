# Commands on a whole database work without FORCE although a relay is connected,
# again and again, and only for those who may run them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Cwd;
use EbBound;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $rounds = $ENV{EB_ROUNDS} || 5;
my $node = PostgreSQL::Test::Cluster->new('commands');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'eventbus'\nmax_worker_processes = 24\nautovacuum = off\n");
$node->start;
my $longest = 0;

sub relay_runs
{
	my ($db) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = '$db'")
	  || die "no relay in $db";
}

# Runs a command as a user; dies unless it works.
sub run
{
	my ($sql, %option) = @_;
	my $start = time;
	$node->safe_psql($option{in} || 'postgres', $sql, extra_params => $option{as} ? [ '-U', $option{as} ] : []);
	my $took = time - $start;
	$longest = $took if $took > $longest;
}

$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN CREATEDB; CREATE ROLE nobody LOGIN CREATEDB');

my $elsewhere = $node->basedir . '/elsewhere';
$elsewhere = Cwd::abs_path('.') . "/$elsewhere" unless $elsewhere =~ m{^/};
mkdir $elsewhere or die "$elsewhere: $!";
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$elsewhere'");
$node->safe_psql('postgres', 'GRANT CREATE ON TABLESPACE elsewhere TO owner');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION eventbus');
relay_runs('other');

for my $round (1 .. $rounds)
{
	my $as = $round % 2 ? 'owner' : undef;

	run('CREATE DATABASE bus OWNER owner');
	run('CREATE EXTENSION eventbus', in => 'bus');
	relay_runs('bus');
	run('ALTER DATABASE bus RENAME TO coach', as => $as);
	relay_runs('coach');
	run('ALTER DATABASE coach SET TABLESPACE elsewhere', as => $as);
	relay_runs('coach');
	run("CREATE DATABASE copy_wal TEMPLATE coach STRATEGY wal_log", as => $as);
	run("CREATE DATABASE copy_file TEMPLATE coach STRATEGY file_copy", as => $as);
	relay_runs($_) for qw(coach copy_wal copy_file);
	run('DROP DATABASE copy_wal');
	run('DROP DATABASE copy_file', in => 'other');
	run('DROP DATABASE coach WITH (FORCE)', as => $as) if $round == 1;
	run('DROP DATABASE coach', as => $as) if $round > 1;
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventbus relay'"),
		1, "round $round: all commands worked, no relay is left over");
}

# DROP DATABASE the moment after CREATE EXTENSION: the relay is on its way.
for my $round (1 .. $rounds)
{
	run('CREATE DATABASE bus');
	run('CREATE EXTENSION eventbus', in => 'bus');
	run('DROP DATABASE bus');
}
pass('DROP DATABASE right after CREATE EXTENSION');

# The same without the extension: the launcher is just having a look.
for my $round (1 .. $rounds)
{
	run('CREATE DATABASE plain');
	run('CREATE DATABASE plain2 TEMPLATE plain');
	run('ALTER DATABASE plain RENAME TO plain3');
	run("DROP DATABASE $_") for qw(plain2 plain3);
}
pass('commands on databases without the extension');

# With the extension in template1 every new database has it.
run('CREATE EXTENSION eventbus', in => 'template1');
relay_runs('template1');
run('CREATE DATABASE bus');
relay_runs($_) for qw(template1 bus);
run('CREATE DATABASE bus2', in => 'template1');
relay_runs($_) for qw(template1 bus bus2);
run('DROP EXTENSION eventbus CASCADE', in => 'template1');
pass('CREATE DATABASE with the extension in template1');

# A command that fails lets the relay come back: somebody is connected.
my $session = $node->connstr('bus');
my $pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = 'bus'");
my ($in, $out, $timer) = ('', '', IPC::Run::timeout(60));
my $h = IPC::Run::start([ 'psql', '-XAtq', '-d', $session ], \$in, \$out, $timer);
$in = "SELECT 'here';\n";
$h->pump until $out =~ /here/;
my ($rc, $stdout, $stderr) = $node->psql('postgres', 'DROP DATABASE bus');
like($stderr, qr/being accessed by other users/, 'DROP DATABASE is refused while somebody else is connected');
relay_runs('bus');
pass('and the relay is back');
$in = "\\q\n";
$h->finish;

# RENAME in a transaction and a savepoint that are rolled back.
run('BEGIN; SAVEPOINT a; ALTER DATABASE bus RENAME TO coach; ROLLBACK TO a; COMMIT');
relay_runs('bus');
run('BEGIN; ALTER DATABASE bus RENAME TO coach; ROLLBACK');
relay_runs('bus');
($rc, $stdout, $stderr) = $node->psql('postgres', 'BEGIN; DROP DATABASE bus');
like($stderr, qr/cannot run inside a transaction block/, 'DROP DATABASE in a transaction is refused');

# Who may not run it does not move the relay.
relay_runs('bus');
my $before = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = 'bus'");
for my $sql ('DROP DATABASE bus', 'ALTER DATABASE bus RENAME TO coach', 'ALTER DATABASE bus SET TABLESPACE elsewhere',
	'CREATE DATABASE coach TEMPLATE bus')
{
	($rc, $stdout, $stderr) = $node->psql('postgres', $sql, extra_params => [ '-U', 'nobody' ]);
	like($stderr, qr/must be owner|permission denied/, "refused: $sql");
}
is($node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = 'bus'"),
	$before, 'and the relay was not touched');

within($longest, 5, 'the longest command');
# A relay that a starved machine keeps from leaving within a second is terminated.
my @complaints = grep { /(?:WARNING|PANIC|FATAL): / && !/terminating background worker "eventbus relay/ }
  split /\n/, slurp_file($node->logfile);
is(join("\n", @complaints), '', 'nothing to complain about in the log');
$node->stop('fast');
done_testing();
