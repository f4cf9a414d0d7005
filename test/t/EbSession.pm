# A session whose statements are sent one by one and whose end is noticed: psql
# behind pipes.  Plain forks use it, where the server may be killed at any time.
package EbSession;
use strict;
use warnings;
use IO::Select;
use Test::More ();
use Time::HiRes qw(time);

# A server that is built to find mistakes is slower (tools/flavour.sh).
my $patience = ($ENV{PG_TEST_TIMEOUT_DEFAULT} // 60) / 60;
$patience = 1 if $patience < 1;

# $connstr is what $node->connstr(DATABASE) returns.
sub new
{
	my ($class, $connstr, $name) = @_;
	pipe(my $in_read, my $in_write) or die "pipe: $!";
	pipe(my $out_read, my $out_write) or die "pipe: $!";
	my $pid = fork();
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open STDIN, '<&', $in_read or POSIX::_exit(1);
		open STDOUT, '>&', $out_write or POSIX::_exit(1);
		open STDERR, '>', '/dev/null' or POSIX::_exit(1);
		close $_ foreach $in_read, $in_write, $out_read, $out_write;
		$ENV{PGAPPNAME} = $name // 'session';
		$ENV{PGCONNECT_TIMEOUT} = 10;
		no warnings 'exec';
		exec 'psql', '-XAtq', '-F', '|', '-f', '-', '-d', $connstr;
		POSIX::_exit(1);
	}
	close $in_read;
	close $out_write;
	$in_write->autoflush(1);
	my $self = bless {
		pid => $pid, in => $in_write, out => $out_read, buffer => '',
		select => IO::Select->new($out_read), n => 0, lost => 0,
		error => '', state => '00000'
	}, $class;
	return $self;
}

# A session that is connected, tried for as long as the deadline allows; or undef.
# Between two tries it pauses for some seconds.
sub connect
{
	my ($class, $connstr, $name, $deadline, $pause) = @_;
	until (time > $deadline)
	{
		my $self = $class->new($connstr, $name);
		return $self if defined $self->query('SELECT 1');
		$self->close;
		select undef, undef, undef, $pause // 0.02;    # a server that starts is not pressed
	}
	return undef;
}

# Sends statements without waiting.
sub send
{
	my ($self, $sql) = @_;
	$self->{n}++;
	local $SIG{PIPE} = 'IGNORE';
	print { $self->{in} } "$sql\n;\n\\echo EB-END $self->{n} :ERROR :SQLSTATE :LAST_ERROR_MESSAGE\n"
	  or $self->{lost} = 1;
}

# The rows of the last send as one string, or undef: then error and state tell
# why, or lost is set.
sub receive
{
	my ($self, $timeout) = @_;
	my $deadline = time + ($timeout // 60) * $patience;
	my ($at, $eol);
	while (($at = index $self->{buffer}, "EB-END $self->{n} ") < 0
		|| ($eol = index $self->{buffer}, "\n", $at) < 0)
	{
		my $left = $deadline - time;
		if ($left <= 0)
		{
			# Out of step from here on, so it is of no more use.
			$self->{error} = 'timeout';
			$self->{lost} = 1;
			kill 'TERM', $self->{pid};
			return undef;
		}
		next unless $self->{select}->can_read($left);
		my $read = sysread $self->{out}, $self->{buffer}, 65536, length $self->{buffer};
		if (!$read) { $self->{lost} = 1; $self->{error} = 'lost'; return undef; }
	}
	my $rows = substr $self->{buffer}, 0, $at;
	my (undef, undef, $error, $state, $message) = split / /, substr($self->{buffer}, $at, $eol - $at), 5;
	substr $self->{buffer}, 0, $eol + 1, '';
	# An error without a code is the client's: the connection is gone.
	$self->{lost} = 1 if $error eq 'true' && $state eq '';
	$self->{state} = $state;
	$self->{error} = $error eq 'true' ? $message // '' : '';
	return undef if $error eq 'true';
	chomp $rows;
	$rows =~ s/\A\n+//;
	return $rows;
}

sub query
{
	my ($self, $sql, $timeout) = @_;
	$self->send($sql);
	return $self->receive($timeout);
}

# As query, but whatever goes wrong ends the test.
sub must
{
	my ($self, $sql, $timeout) = @_;
	my $rows = $self->query($sql, $timeout);
	die "$sql: $self->{state} $self->{error}" unless defined $rows;
	return $rows;
}

# The server process behind it.
sub backend
{
	my ($self) = @_;
	return $self->must('SELECT pg_backend_pid()');
}

sub close
{
	my ($self) = @_;
	return unless $self->{in};
	local $SIG{PIPE} = 'IGNORE';
	close delete $self->{in};
	close delete $self->{out};
	waitpid $self->{pid}, 0;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	$self->close if $self->{in} && ($self->{owner} // $$) == $$;
}

# Runs code in a child; returns its pid.  The child leaves without END blocks, so
# that it never stops its parent's servers.
sub in_child
{
	my ($code) = @_;
	my $pid = fork();
	die "fork: $!" unless defined $pid;
	return $pid if $pid;
	$SIG{PIPE} = 'IGNORE';
	my $ok = eval { $code->(); 1 };
	Test::More::diag("child: $@") unless $ok;
	POSIX::_exit($ok ? 0 : 1);
}

# Waits for children; returns how many failed.
sub wait_children
{
	my $failed = 0;
	foreach my $pid (@_)
	{
		my $reaped = waitpid $pid, 0;
		next if $reaped == $pid && $? == 0;
		$failed++;
		Test::More::diag("child $pid: waitpid said $reaped, status $?");
	}
	return $failed;
}

use POSIX ();
use IO::Handle;
1;
