# A reference model of subscriptions: what the bus must have done after each step.
#
# An event of a subscription is in one of four states: queued (perhaps waiting
# until a time), leased, acked, or dead.  The model knows each event's state, its
# attempts and its receipt, and judges what the server says.  Of time it only
# knows what is certain: "may be due" is read from the server's own clock.
package Model;
use strict;
use warnings;

sub new
{
	my ($class) = @_;
	return bless { subs => {}, log => {}, fresh => [], problems => [] }, $class;
}

sub problem
{
	my ($self, $what) = @_;
	push @{ $self->{problems} }, $what;
}

sub subscribe
{
	my ($self, $name, %options) = @_;
	$self->{subs}{$name} = { name => $name, events => {}, live => {}, paused => 0, leases => {}, %options };
}

# A committed event; each subscription that wants it has a copy.
sub emit
{
	my ($self, $id, %event) = @_;
	$self->{log}{$id} = {%event};
	push @{ $self->{fresh} }, $id;
}

# A pass of the relay has reached every event: they are queued now.
sub route
{
	my ($self) = @_;
	foreach my $sub (values %{ $self->{subs} })
	{
		foreach my $id (@{ $self->{fresh} })
		{
			$self->add_copy($sub, $id, 'f', $self->{log}{$id}{due}) if $sub->{wants}->($self->{log}{$id});
		}
	}
	$self->{fresh} = [];
}

sub add_copy
{
	my ($self, $sub, $id, $replayed, $due) = @_;
	push @{ $sub->{events}{$id}{copies} }, { state => 'queued', attempt => 0, replayed => $replayed, due => $due };
	$sub->{live}{$id} = 1;
}

sub offset_of { return $_[0]{log}{ $_[1] }{offset}; }

# The copies of events (an event that is replayed has several) in some states.
sub copies
{
	my ($self, $name, @states) = @_;
	my %wanted = map { $_ => 1 } @states;
	my @found;
	foreach my $id (keys %{ $self->{subs}{$name}{live} })
	{
		push @found, map { [ $id, $_ ] } grep { !@states || $wanted{ $_->{state} } }
		  @{ $self->{subs}{$name}{events}{$id}{copies} };
	}
	return @found;
}

# A row of eb_fetch.
sub fetched
{
	my ($self, $name, $row) = @_;
	my $sub = $self->{subs}{$name};
	my $event = $sub->{events}{ $row->{id} };
	return $self->problem("$name: fetched $row->{id}, which it must not have") unless $event;
	return $self->problem("$name: fetched while paused") if $sub->{paused};
	return $self->problem("$name: offset of $row->{id} is $row->{offset}")
	  if $row->{offset} != $self->offset_of($row->{id});
	# Which copy?  One that may be taken and whose next attempt this is.
	my ($copy) = grep { $_->{attempt} + 1 == $row->{attempt} && $_->{replayed} eq $row->{replayed}
		  && ($_->{state} eq 'queued' || $_->{state} eq 'leased' && $_->{until} <= $row->{end}) } @{ $event->{copies} };
	if (!$copy)
	{
		my $have = join ', ', map { "$_->{state} after $_->{attempt} attempts, replayed $_->{replayed}" } @{ $event->{copies} };
		return $self->problem("$name: fetched $row->{id} for attempt $row->{attempt}, replayed $row->{replayed}, but it is $have");
	}
	return $self->problem("$name: $row->{id} came $copy->{due} - $row->{end} s too early")
	  if $copy->{state} eq 'queued' && defined $copy->{due} && $copy->{due} > $row->{end};
	if ($sub->{ordered}) { $self->check_order($sub, $row); }
	$self->unlease($sub, $row->{id}, $copy);
	@$copy{qw(state attempt until receipt due)} = ('leased', $row->{attempt}, $row->{until}, $row->{receipt}, undef);
	push @{ $sub->{leases}{ $row->{receipt} } }, [ $row->{id}, $copy ];
}

# In an ordered subscription what is delivered the first time follows everything
# before it in its aggregate: settled, or in the very same delivery.
sub check_order
{
	my ($self, $sub, $row) = @_;
	return if $row->{replayed} eq 't';
	my $aggregate = $self->{log}{ $row->{id} }{aggregate};
	foreach my $id (keys %{ $sub->{live} })
	{
		next if $self->{log}{$id}{aggregate} ne $aggregate || $self->offset_of($id) >= $row->{offset};
		foreach my $copy (grep { $_->{replayed} eq 'f' } @{ $sub->{events}{$id}{copies} })
		{
			next if $copy->{state} eq 'acked' || $copy->{state} eq 'dead';
			next if $copy->{state} eq 'leased' && $copy->{receipt} eq $row->{receipt};
			$self->problem("$sub->{name}: $row->{offset} of $aggregate came before " . $self->offset_of($id) . ", which is $copy->{state}");
		}
	}
}

sub unlease
{
	my ($self, $sub, $id, $copy) = @_;
	return unless defined $copy->{receipt};
	my $lease = $sub->{leases}{ $copy->{receipt} };
	@$lease = grep { $_->[1] != $copy } @$lease;
	delete $sub->{leases}{ $copy->{receipt} } unless @$lease;
	delete $copy->{receipt};
}

# Events of a receipt leave it into another state; returns how many.
sub settle
{
	my ($self, $name, $receipt, $ids, $state, %more) = @_;
	my $sub = $self->{subs}{$name};
	my %wanted = map { $_ => 1 } @{ $ids || [] };
	my $n = 0;
	foreach (@{ [ @{ $sub->{leases}{$receipt} || [] } ] })
	{
		my ($id, $copy) = @$_;
		next if $ids && !$wanted{$id};
		$self->unlease($sub, $id, $copy);
		$copy->{state} = $state;
		$copy->{$_} = $more{$_} foreach keys %more;
		delete $sub->{live}{$id} unless grep { $_->{state} ne 'acked' } @{ $sub->{events}{$id}{copies} };
		$n++;
	}
	return $n;
}

# eb_nack; $earliest is when a retry may come at the earliest.
sub nack
{
	my ($self, $name, $receipt, $ids, $retryable, $earliest) = @_;
	my $sub = $self->{subs}{$name};
	my ($first) = @{ $sub->{leases}{$receipt} || [] };
	return 0 unless $first;
	my $dead = !$retryable || $first->[1]{attempt} >= $sub->{max_attempts};
	return $self->settle($name, $receipt, $ids, $dead ? 'dead' : 'queued', due => $dead ? undef : $earliest);
}

# eb_replay; returns how many.
sub replay
{
	my ($self, $name, $from, $to) = @_;
	my $n = 0;
	my $sub = $self->{subs}{$name};
	foreach my $id (keys %{ $self->{log} })
	{
		my $event = $self->{log}{$id};
		next if $event->{offset} < $from || $event->{offset} > $to || !$sub->{wants}->($event);
		$self->add_copy($sub, $id, 't', undef);
		$n++;
	}
	return $n;
}

sub dlq_replay
{
	my ($self, $name) = @_;
	my @dead = $self->copies($name, 'dead');
	foreach (@dead) { @{ $_->[1] }{qw(state attempt replayed)} = ('queued', 0, 't'); }
	return scalar @dead;
}

# A description of each copy, as the server should have it: "offset attempt replayed"
# per state.  "now" is the server's time when it was asked; an expired lease is
# leased still, put back, or dead after its last attempt: the model follows the server.
sub compare
{
	my ($self, $name, $queue, $dead, $now) = @_;
	my $sub = $self->{subs}{$name};
	my (%theirs, %their_dead, %ours);
	$theirs{"$_->{offset} $_->{attempt} $_->{replayed} $_->{leased}"}++ foreach @$queue;
	$their_dead{"$_->{offset} $_->{attempts}"}++ foreach @$dead;
	# Copies of one event may look the same: those whose lease ends last are there.
	my %there = %theirs;
	foreach (sort { $b->[1]{until} <=> $a->[1]{until} } $self->copies($name, 'leased'))
	{
		my ($id, $copy) = @$_;
		my $key = $self->offset_of($id) . " $copy->{attempt} $copy->{replayed} t";
		next if $there{$key} && $there{$key}-- || $copy->{until} > $now;
		$self->unlease($sub, $id, $copy);
		$copy->{state} = $copy->{attempt} < $sub->{max_attempts} ? 'queued' : 'dead';
	}
	foreach ($self->copies($name, 'leased', 'queued'))
	{
		my ($id, $copy) = @$_;
		$ours{ join ' ', $self->offset_of($id), $copy->{attempt}, $copy->{replayed}, $copy->{state} eq 'leased' ? 't' : 'f' }++;
	}
	my %our_dead;
	$our_dead{ $self->offset_of($_->[0]) . " $_->[1]{attempt}" }++ foreach $self->copies($name, 'dead');
	foreach my $pair ([ 'queue', \%ours, \%theirs ], [ 'dead letters', \%our_dead, \%their_dead ])
	{
		my ($what, $a, $b) = @$pair;
		foreach (keys %{ { %$a, %$b } })
		{
			next if ($a->{$_} // 0) == ($b->{$_} // 0);
			$self->problem("$name: $what: \"$_\" (offset, attempts, replayed, leased) expected " . ($a->{$_} // 0) . ' times, is there ' . ($b->{$_} // 0));
		}
	}
}

1;
