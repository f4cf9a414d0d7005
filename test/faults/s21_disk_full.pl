# 21: The data tablespace is full, then pg_wal is.
#
# Both are small file systems of their own, mounted in a namespace where this
# program is root; where that is not allowed, the scenario is skipped.
use strict;
use warnings;

my ($space, $wal);
sub enter_namespace
{
	mkdir $_ foreach $space, $wal;
	my @include = map { ('-I', $_) } grep { !ref } @INC;
	my ($user, $group) = ($>, $) =~ /^(\d+)/);
	# Root in the first namespace mounts; in the second it is the user again, for PostgreSQL.
	my $script = 'mount -t tmpfs -o size=96m,mode=700 tmpfs "$1" && mount -t tmpfs -o size=24m,mode=700 tmpfs "$2" && touch mounted && shift 2 && exec "$@"';
	unlink 'mounted';
	my @in = ('unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', $script, 'sh', $space, $wal);
	my @back = ('unshare', '--user', "--map-user=$user", "--map-group=$group");
	if (system("@in[0 .. 3] true 2>/dev/null") == 0 && system(@in, @back, 'true') == 0)
	{
		$ENV{EB_MOUNTED} = 1;
		exec @in, @back, $^X, @include, $0;
		die "exec: $!";
	}
}

BEGIN
{
	require Cwd;
	($space, $wal) = (Cwd::getcwd() . '/space', Cwd::getcwd() . '/wal');
	enter_namespace() unless $ENV{EB_MOUNTED};
}

use PostgreSQL::Test::Utils;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(21, 'data tablespace full, pg_wal full');
if (!$ENV{EB_MOUNTED})
{
	$s->skip_part('full disks', 'mounting a small file system is not allowed here (user namespaces)');
	$s->done;
	exit 0;
}

my $allow = qr/^(57|40001|40P01|08|25P02|55000|53100|58030)/;

sub fill
{
	my ($dir) = @_;
	system("dd if=/dev/zero of='$dir/ballast' bs=64k 2>/dev/null");
	$s->{faults}++;
}

# --- the tablespace ---
{
	my $node = $s->node(name => 'data');
	$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$space'");
	$node->safe_psql('postgres', 'CREATE DATABASE app TABLESPACE small');
	my $load = $s->load($node, db => 'app')->start;
	$s->let_run($node, 300, db => 'app');
	for my $round (1 .. 2)
	{
		fill($space);
		my $begin = time;
		my $error = '';
		until ($error =~ /53100/ || time - $begin > 60)
		{
			(undef, undef, $error) = $node->psql('app', "\\set VERBOSITY sqlstate\nCREATE TABLE fat AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 5000) i");
		}
		$s->part($error =~ /53100/, "round $round: the disk is full");
		select undef, undef, undef, 2;
		unlink "$space/ballast";
		my $healed = time;
		$node->safe_psql('app', 'DROP TABLE IF EXISTS fat');
		$s->let_run($node, 200, db => 'app');
		$s->wait_for($node, 'SELECT lag < 1000 FROM eb_stat_bus', db => 'app');
		$s->bound("round $round: the relay is at work again", time - $healed, 15);
	}
	$s->heal_and_check($load, checker => { allow => $allow });
	$node->stop('fast');
}

# --- pg_wal ---
{
	my $node = $s->node(name => 'wal', init => { extra => [ "--waldir=$wal/pg_wal", '--wal-segsize=1' ] },
		conf => "max_wal_size = 8MB\nmin_wal_size = 2MB\nwal_keep_size = 0\n");
	my $load = $s->load($node)->start;
	$s->let_run($node, 300);
	fill($wal);
	my $begin = time;
	# Until the server has met it: PANIC, and recovery that may need space, too.
	until (slurp_file($node->logfile) =~ /PANIC.*No space left|No space left.*\n.*PANIC/ || time - $begin > 60)
	{
		select undef, undef, undef, 0.1;
	}
	my $met = slurp_file($node->logfile) =~ /PANIC|No space left/;
	$s->part($met, sprintf 'the server has met the full disk after %.1f s', time - $begin);
	select undef, undef, undef, 1;
	unlink "$wal/ballast";
	my $healed = time;
	# If it went down, whoever watches over it starts it again.
	select undef, undef, undef, 1;
	if (system('pg_ctl', '-D', $node->data_dir, '-s', 'status') != 0)
	{
		$s->fact('the server went down, and was started when there was room again');
		$node->{_pid} = undef;
		$node->start;
	}
	$s->wait_up($node);
	$s->let_run($node, 200);
	$s->heal_and_check($load, healed => $healed, checker => { allow => $allow });
	$node->stop('fast');
}
$s->done;
