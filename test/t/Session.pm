# A psql that stays connected: $s->query('...') returns what it prints, one line a
# row, an error as a line "ERROR:  SQLSTATE".
package Session;
use strict;
use warnings;
use IPC::Open2;
use PostgreSQL::Test::Cluster;

sub new
{
	my ($class, $node, $db) = @_;
	my $self = bless { node => $node, db => $db // 'postgres', n => 0 }, $class;
	$self->connect;
	return $self;
}

sub connect
{
	my ($self) = @_;
	local $ENV{PGHOST} = $self->{node}->host;
	local $ENV{PGPORT} = $self->{node}->port;
	local $ENV{PGOPTIONS} = '-c statement_timeout=60s';	# nothing hangs
	my $psql = $self->{node}->config_data('--bindir') . '/psql';
	$self->{pid} = open2($self->{out}, $self->{in},
		"exec '$psql' -XAtq -F '|' -d '$self->{db}' -v VERBOSITY=sqlstate 2>&1");
	$self->{in}->autoflush(1);
}

# Sends statements without waiting for their end.
sub send
{
	my ($self, $sql) = @_;
	$self->{n}++;
	print { $self->{in} } "$sql\n;\n\\echo =$self->{n}=\n";
}

# What the statements sent last have printed; undef if the connection was lost.
sub result
{
	my ($self) = @_;
	my @lines;
	while (defined(my $line = readline($self->{out})))
	{
		chomp $line;
		return wantarray ? @lines : join("\n", @lines) if $line eq "=$self->{n}=";
		$line =~ s/^psql:.*?: //;
		push @lines, $line if $line ne '';
	}
	return;
}

sub query
{
	my ($self, $sql) = @_;
	local $SIG{PIPE} = 'IGNORE';
	$self->send($sql);
	return $self->result;
}

sub close
{
	my ($self) = @_;
	local $SIG{PIPE} = 'IGNORE';
	close $self->{in};
	close $self->{out};
	waitpid $self->{pid}, 0;
}

1;
