# A scenario of the fault matrix: its server, its load, its verdicts.  A scenario
# is a program of its own, test/faults/sNN_name.pl; README.md shows one.
#
# What it finds goes to the file that EB_RESULT names, where the run reads it.
package Scenario;
use strict;
use warnings;
use Checker;
use EbSession;
use Ledger;
use Load;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

sub new
{
	my ($class, $number, $title) = @_;
	my $self = bless {
		number => $number, title => $title, owner => $$,
		seed => $ENV{EB_SEED} || int(time) ^ $$,
		seconds => $ENV{EB_SECONDS} || 3,
		producers => $ENV{EB_PRODUCERS} || 16,
		consumers => $ENV{EB_CONSUMERS} || 8,
		slack => $ENV{EB_SLACK} || 6,
		fault => $ENV{EB_FAULT} // '',
		short => !!$ENV{EB_SHORT},
		n => {}, nodes => 0, loads => 0, begun => time
	}, $class;
	srand $self->{seed};
	if ($ENV{EB_RESULT})
	{
		open $self->{result}, '>', $ENV{EB_RESULT} or die "$ENV{EB_RESULT}: $!";
		$self->{result}->autoflush(1);
	}
	note "scenario $number: $title, seed $self->{seed}, $self->{seconds} s" . ($self->{fault} ? ", seeded bug $self->{fault}" : '');
	return $self;
}

# A line for the run: a word, then text.
sub tell
{
	my ($self, $word, $text) = @_;
	$text =~ s/\s*\n\s*/ | /g;
	note "$word $text";
	print { $self->{result} } "$word $text\n" if $self->{result};
}

# --- servers -----------------------------------------------------------------

# An initialised and started server; conf is appended to its configuration, init
# are options of PostgreSQL::Test::Cluster::init.
sub node
{
	my ($self, %option) = @_;
	my $node = PostgreSQL::Test::Cluster->new($option{name} // 's' . $self->{number} . '_' . $self->{nodes}++);
	$node->init(%{ $option{init} // {} });
	$node->append_conf('postgresql.conf', $self->conf . ($option{conf} // ''));
	$node->start unless $option{stopped};
	return $node;
}

# The configuration of every server, with the seeded bug of this run.
sub conf
{
	my ($self) = @_;
	my $conf = "fsync = " . ($self->{short} ? 'off' : 'on') . "\nrestart_after_crash = on\nlog_statement = none\nmax_connections = 100\n"
	  . "log_min_messages = warning\neventbus.segment_events = 1000\n";
	$conf .= "eventbus.fault = '$self->{fault}'\n" if $self->{fault};
	return $conf;
}

# Changes settings of a running server.
sub set
{
	my ($self, $node, %settings) = @_;
	$node->safe_psql('postgres', join '', map { "ALTER SYSTEM SET $_ = '$settings{$_}';\n" } sort keys %settings);
	$node->reload;
}

# Kills the postmaster and all of its children at once, and starts again.
sub kill_all
{
	my ($self, $node, %option) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	kill 'STOP', $postmaster;    # so that it makes no more children
	chomp(my @children = `ps -o pid= --ppid $postmaster`);
	kill 'KILL', $postmaster, @children;
	my $deadline = time + 60;
	foreach my $pid (@children) { select undef, undef, undef, 0.01 while kill(0, $pid) && time < $deadline; }
	$node->{_pid} = undef;
	$self->{faults}++;
	$node->start unless $option{stopped};
}

# Kills one process of the server whose activity matches; the server restarts
# itself.  False if there was none.
sub kill_one
{
	my ($self, $node, $where, $db) = @_;
	my @pids = $self->pids($node, $where, $db) or return 0;
	kill 'KILL', $pids[ rand @pids ];
	$self->{faults}++;
	$self->wait_up($node, $db);
	return 1;
}

sub pids
{
	my ($self, $node, $where, $db) = @_;
	my $rows = $self->ask($node, "SELECT pid FROM pg_stat_activity WHERE $where", $db);
	return split /\n/, $rows // '';
}

# The rows of a query, tried until the server answers; undef after three minutes.
# Who asks again and again keeps the session in a hash, and closes it.
sub ask
{
	my ($self, $node, $sql, $db, $keep) = @_;
	my $deadline = time + 180;
	while (time < $deadline)
	{
		my $s = ($keep && delete $keep->{session}) || EbSession->connect($node->connstr($db // 'postgres'), 'scenario', $deadline) or last;
		my $rows = $s->query($sql);
		my ($lost, $state, $error) = @{$s}{qw(lost state error)};
		if ($keep && !$lost) { $keep->{session} = $s; }
		else { $s->close; }
		return $rows if defined $rows;
		die "$sql: $state $error" unless $lost || $state =~ /^57/;
		select undef, undef, undef, 0.02;
	}
	return undef;
}

sub wait_up
{
	my ($self, $node, $db) = @_;
	defined $self->ask($node, 'SELECT 1', $db) or die 'the server does not come back';
}

# Makes the next process that comes to a fault point kill itself there, waits
# until it did, and until the server and another relay are back; returns the
# seconds that took, or undef if nobody came.  For a build with -DEB_FAULTS.
sub kill_at
{
	my ($self, $node, $point, %option) = @_;
	my $db = $option{db} // 'postgres';
	my $relay = "FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname = '$db'";
	my $old = $self->ask($node, "SELECT pid $relay") || 0;
	my $file = $node->data_dir . "/eventbus.kill.$point";
	my $deadline = time + ($option{timeout} // 60);
	append_to_file($file, '');
	select undef, undef, undef, 0.005 while -e $file && time < $deadline;
	return undef if unlink $file;
	$self->{faults}++;
	my $died = time;
	$self->wait_for($node, "SELECT count(*) = 1 $relay AND pid <> $old");
	return time - $died;
}

# Waits until a query says t; returns the seconds it took, or dies.
sub wait_for
{
	my ($self, $node, $sql, %option) = @_;
	my $begin = time;
	my $deadline = $begin + ($option{timeout} // 180);
	my %keep;
	while (time < $deadline)
	{
		my $true = ($self->ask($node, $sql, $option{db}, \%keep) // '') eq 't';
		my $took = time - $begin;
		select undef, undef, undef, 0.02 unless $true;
		$keep{session}->close if $keep{session} && ($true || time >= $deadline);
		return $took if $true;
	}
	die "timeout: $sql";
}

# Lets the load run until that many events more are in the log, for a few seconds at most.
sub let_run
{
	my ($self, $node, $events, %option) = @_;
	my $deadline = time + ($option{timeout} // 10);
	my %keep;
	my $from = $self->ask($node, 'SELECT eb_last_offset()', $option{db}, \%keep);
	while (time < $deadline)
	{
		last if $self->ask($node, 'SELECT eb_last_offset()', $option{db}, \%keep) >= $from + $events;
		select undef, undef, undef, 0.02;
	}
	$keep{session}->close if $keep{session};
}

# --- the load ----------------------------------------------------------------

# A load on the node, with its tables and subscriptions, not started.
sub load
{
	my ($self, $node, %option) = @_;
	my $load = Load->new($node,
		folder => PostgreSQL::Test::Utils::tempdir('ledger'),
		producers => $self->{producers}, consumers => $self->{consumers},
		seed => $self->{seed}, owner => $$, %option);
	$load->install unless $option{installed};
	return $load;
}

# The faults are over: producers end, the queue is drained (H), consumers end,
# ledger and log are compared.  Returns the checker.
sub heal_and_check
{
	my ($self, $load, %option) = @_;
	my $healed = $option{healed} // time;
	my $failed = $load->stop_producers;
	my $drained = eval {
		$self->wait_for($load->{node}, "SELECT lag = 0 AND queued = 0 FROM eb_stat_bus", db => $load->{db},
			timeout => $option{timeout} // ($self->{fault} ? 12 : 30 * $self->{slack} + 30));
		1;
	};
	my $h = time - $healed;
	$failed += $load->stop;
	$self->part(0, "$failed processes of the load failed") if $failed;
	$self->{h} = $h if $h > ($self->{h} // 0);
	$self->part(0, "the queue was not drained within $h s") unless $drained;
	$self->bound('H', $h, 30) if $drained;
	return $self->check($load, %option);
}

# Compares ledger and log of a load that has ended, and adds up the counters; apart:
# in a process of its own.
sub check
{
	my ($self, $load, %option) = @_;
	my $checker = Checker->new($load, %{ $option{checker} // {} });
	my %n = $option{apart} ? $checker->run_apart : $checker->run;
	$self->{n}{$_} = ($self->{n}{$_} // 0) + $n{$_} foreach keys %n;
	$self->{events} += $checker->events;
	$self->tell('found', $_) foreach @{ $checker->{found} };
	my $errors = $checker->{errors};
	$self->part(0, "unexpected error, $errors->{$_} times: $_") foreach sort keys %$errors;
	my $o = $checker->{outcomes} // {};
	$self->fact(join(', ', $checker->events . ' events', (map { "$_ $o->{$_}" } sort keys %$o),
		($checker->{pairs} // 0) . ' pairs', ($checker->{deliveries_seen} // 0) . ' deliveries'));
	return $checker;
}

# Adds to a counter by hand.
sub count
{
	my ($self, $counter, $n, $why) = @_;
	$self->{n}{$counter} = ($self->{n}{$counter} // 0) + $n;
	$self->tell('found', "$counter: $why") if $n && $why;
}

# --- verdicts ----------------------------------------------------------------

# A part of the scenario: passed or failed.
sub part
{
	my ($self, $ok, $text) = @_;
	ok($ok, $text);
	$self->tell($ok ? 'pass' : 'fail', $text);
	return $ok;
}

# A measured time against what the matrix allows.  On a busy machine, which the
# short form has to expect, only a multiple of it (SLACK) is a failure.
sub bound
{
	my ($self, $text, $value, $limit, $unit) = @_;
	$unit //= 's';
	my $shown = sprintf '%s: %.2f %s (allowed %.4g)', $text, $value, $unit, $limit;
	return $self->part($value <= $limit * $self->{slack}, $shown . ($value > $limit ? ', over, within slack' : ''));
}

# A part that cannot run here, and why.
sub skip_part
{
	my ($self, $text, $why) = @_;
	$self->tell('skip', "$text: $why");
}

sub fact
{
	my ($self, $text) = @_;
	$self->tell('fact', $text);
}

# Runs a TAP test of test/t as a part of this scenario.
sub tap
{
	my ($self, $name, %env) = @_;
	local @ENV{ keys %env } = values %env;
	local $ENV{TESTDATADIR} = "$ENV{TESTDATADIR}/$name";
	local $ENV{TESTLOGDIR} = "$ENV{TESTLOGDIR}/$name";
	my @include = map { ('-I', $_) } grep { !ref } @INC;
	my ($passed, @failed) = (0);
	open my $out, '-|', "exec $^X " . join(' ', @include) . " $ENV{EB_TREE}/test/t/$name.pl 2>&1" or die $!;
	while (<$out>)
	{
		print "# $_";
		$passed++ if /^ok /;
		push @failed, $1 if /^not ok \d+ - (.*)/;
	}
	close $out;
	push @failed, "exit code $?" if $? && !@failed;
	$self->part(!@failed, "test/t/$name.pl: $passed passed" . join('', map { "; failed: $_" } @failed));
}

# Ends the scenario: every counter must be zero.
sub done
{
	my ($self) = @_;
	my $n = $self->{n};
	$self->tell('counter', "$_ $n->{$_}") foreach grep { defined $n->{$_} } @Checker::counters;
	$self->tell('counter', sprintf 'H %.1f', $self->{h}) if defined $self->{h};
	$self->tell('events', $self->{events} // 0);
	$self->tell('faults', $self->{faults} // 0);
	is($n->{$_}, 0, "$_ = 0") foreach grep { defined $n->{$_} } @Checker::counters;
	ok(1, 'went through');
	$self->tell('done', sprintf '%.1f s', time - $self->{begun});
	done_testing();
}

1;
