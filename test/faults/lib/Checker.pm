# Compares the ledger with the log and the queue, and counts.  README.md says
# what each counter means.
#
#	my $checker = Checker->new($load, %option);
#	my %n = $checker->run;				# L P D I T O S F V Q R
#	$checker->{lost}					# transactions: ok, but not in the log
#
# Options: from (offsets at or below it were checked before), allow (pattern of
# SQLSTATEs that the load may meet), lease (seconds; as the load's).
package Checker;
use strict;
use warnings;
use EbSession;
use Ledger;
use Load;
use Storable ();

our @counters = qw(L P D I T O S F V Q R);

sub new
{
	my ($class, $load, %option) = @_;
	return bless {
		load => $load, folder => $load->{folder}, node => $load->{node}, db => $load->{db},
		lease => $load->{lease}, from => 0, allow => qr/^(57|40001|40P01|08|25P02|55000)/, found => [], %option
	}, $class;
}

# Counts n of a counter, and keeps the first few reasons.
sub count
{
	my ($self, $counter, $why) = @_;
	$self->{n}{$counter}++;
	push @{ $self->{found} }, "$counter: $why" if ++$self->{told}{$counter} <= 5;
}

sub run
{
	my ($self) = @_;
	$self->{n} = { map { $_ => 0 } @counters };
	$self->{lost} = [];
	$self->read_ledger;
	$self->read_log;
	$self->check_transactions;
	$self->check_reader;
	$self->check_deliveries($_) foreach sort keys %Load::subscriptions;
	$self->check_applied;
	$self->check_queue;
	return %{ $self->{n} };
}

# As run, in a process of its own, so that this one, which forks whatever comes
# later, stays small; lists of events and transactions stay there.
sub run_apart
{
	my ($self) = @_;
	my @small = qw(n found errors outcomes pairs deliveries_seen highest counted);
	my $file = "$self->{folder}/checked.$self->{load}{round}";
	my $child = EbSession::in_child(sub {
		$self->run;
		$self->{counted} = $self->events;
		Storable::store({ map { $_ => $self->{$_} } @small }, $file);
	});
	die 'the checker failed' if EbSession::wait_children($child);
	%$self = (%$self, %{ Storable::retrieve($file) });
	return %{ $self->{n} };
}

# --- what was seen -----------------------------------------------------------

sub read_ledger
{
	my ($self) = @_;
	my $round = $self->{load}{round};
	$self->{$_} = {} foreach qw(intent outcome deliveries settled settling tried trying open errors seen_at read);
	Ledger::each_line($self->{folder}, "producer\\.$round\\..*", sub { $self->producer_line(@_) });
	Ledger::each_line($self->{folder}, "consumer\\.$round\\..*", sub { $self->consumer_line(@_) });
	Ledger::each_line($self->{folder}, "reader\\.$round\\..*", sub { $self->reader_line(@_) });
}

sub producer_line
{
	my ($self, $file, $word, @f) = @_;
	if ($word eq 'intent')
	{
		$self->{intent}{ $f[0] } = { n => $f[1], kind => $f[2], at => $f[3] };
		$self->{outcome}{ $f[0] } = 'unknown';    # until we read on
	}
	elsif ($word eq 'error') { $self->error_line(@f); }
	else { $self->{outcome}{ $f[0] } = $word; $self->{at}{ $f[0] } = $f[1]; $self->{commit_lsn}{ $f[0] } = $f[2]; }
}

sub error_line
{
	my ($self, $what, $state, @message) = @_;
	$self->{errors}{"$what $state @message"}++ unless $state =~ $self->{allow};
}

# An offset never stands for two events, whoever saw it.
sub saw
{
	my ($self, $offset, $id, $who) = @_;
	my $was = $self->{seen_at}{$offset} //= $id;
	$self->count('I', "offset $offset is $was and, for $who, $id") if $was ne $id;
}

sub consumer_line
{
	my ($self, $file, $word, $name, @f) = @_;
	if ($word eq 'delivery')
	{
		my ($receipt, $begin, $end, $kind, @events) = @f;
		my %d = (begin => $begin, end => $end, kind => $kind, over => 0, file => $file);
		my %last;
		foreach (@events)
		{
			my ($id, $offset, $aggregate) = split /,/;
			$self->saw($offset, $id, $name);
			push @{ $self->{deliveries}{$name}{$id} }, $self->{latest}{$file}{$id} = { %d, offset => $offset };
			$self->count('O', "$name: offset $offset after $last{$aggregate} in a delivery")
			  if $name eq 'ordered' && ($last{$aggregate} // 0) > $offset;
			$last{$aggregate} = $offset;
		}
	}
	elsif ($word eq 'try')
	{
		my $at = shift @f;
		foreach (@f)
		{
			$self->{open}{$name}{$_}++;
			$self->{latest}{$file}{$_}{over} = 1;
			$self->{tried}{$name}{$_} = $self->{trying}{$file}{$_} = $at;
		}
	}
	elsif ($word eq 'nack') { $self->{latest}{$file}{$_}{over} = 1 foreach @f; }
	elsif ($word eq 'refused') { $self->{open}{$name}{$_}-- foreach @f; }
	elsif ($word eq 'settled')
	{
		my $at = shift @f;
		foreach (@f)
		{
			$self->{open}{$name}{$_}--;
			$self->count('F', "$name: $_ settled twice") if $self->{settled}{$name}{$_};
			$self->{settled}{$name}{$_} = $at;
			$self->{settling}{$name}{$_} = $self->{trying}{$file}{$_};
		}
	}
	elsif ($word eq 'stale') { $self->count('F', "$name: stale receipt $f[0] was accepted"); }
	elsif ($word eq 'error') { $self->error_line($name, @f); }
}

sub reader_line
{
	my ($self, $file, $word, @f) = @_;
	if ($word eq 'passed') { $self->{passed} = $f[0]; return; }
	foreach (@f)
	{
		my ($offset, $id) = split /,/;
		$self->saw($offset, $id, 'the reader');
		$self->count('R', "offset $offset found after $self->{passed} was passed")
		  if defined $self->{passed} && $offset <= $self->{passed};
		$self->{read}{$offset} = $id;
	}
}

# --- what is there -----------------------------------------------------------

sub rows
{
	my ($self, $sql) = @_;
	return map { [ split /\|/, $_, -1 ] } split /\n/, $self->{node}->safe_psql($self->{db}, $sql);
}

sub read_log
{
	my ($self) = @_;
	my ($event, $tx, $at) = ({}, {}, {});
	foreach ($self->rows(qq{SELECT "offset", event_id, type, payload->>'tx', payload->>'i', coalesce(payload->>'after', ''), aggregate_id
		FROM eventbus.event WHERE type LIKE 'load.%' AND "offset" > $self->{from} ORDER BY 1}))
	{
		my ($offset, $id, $type, $t, $i, $after, $aggregate) = @$_;
		$self->count('D', "event $id at $offset and $event->{$id}{offset}") if $event->{$id};
		$self->count('D', "event $i of transaction $t twice") if $tx->{$t}{$i};
		$self->count('I', "offset $offset twice in the log") if $at->{$offset};
		$self->saw($offset, $id, 'the log');
		$event->{$id} = { id => $id, offset => $offset, type => $type, i => $i, after => $after, aggregate => $aggregate };
		$at->{$offset} = $id;
		$tx->{$t}{$i} = $offset;
	}
	@{$self}{qw(event tx at_offset)} = ($event, $tx, $at);
	$self->{in_order} = [ sort { $a->{offset} <=> $b->{offset} } values %$event ];
	$self->{highest} = @{ $self->{in_order} } ? $self->{in_order}[-1]{offset} : $self->{from};
	$self->{marked} = { map { $_->[0] => $_->[1] } $self->rows('SELECT tx, count(*) FROM marker GROUP BY 1') };
}

sub check_transactions
{
	my ($self) = @_;
	my ($intent, $outcome, $tx) = @{$self}{qw(intent outcome tx)};
	foreach my $t (sort keys %$intent)
	{
		my $o = $outcome->{$t};
		my @there = keys %{ $tx->{$t} // {} };
		my $good = grep { $_ <= $intent->{$t}{n} } @there;
		$self->{outcomes}{$o}++;
		if ($o eq 'ok' && !$good)
		{
			$self->count('L', "transaction $t ($intent->{$t}{kind})");
			push @{ $self->{lost} }, $t;
		}
		$self->count('P', "transaction $t ($intent->{$t}{kind}) failed, and is there") if $o eq 'failed' && @there;
		$self->count('P', "transaction $t: events of a savepoint that was rolled back") if $good != @there;
		$self->count('T', "transaction $t: $good of $intent->{$t}{n}") if $good && $good != $intent->{$t}{n};
		$self->count('T', "transaction $t: $good events, and " . ($self->{marked}{$t} // 0) . ' other rows')
		  if !!$good != !!$self->{marked}{$t};
	}
	foreach my $t (keys %$tx)
	{
		$self->count('P', "transaction $t was never sent") unless $intent->{$t};
	}
	foreach my $e (@{ $self->{in_order} })
	{
		next unless $e->{after};
		my $before = $self->{event}{ $e->{after} };
		if (!$before) { $self->count('O', "$e->{offset} saw $e->{after}, which is not there"); }
		elsif ($before->{offset} >= $e->{offset}) { $self->count('O', "$e->{offset} saw $before->{offset}"); }
		$self->{pairs}++;
	}
}

sub check_reader
{
	my ($self) = @_;
	my $passed = $self->{passed} // 0;
	foreach (@{ $self->{in_order} })
	{
		last if $_->{offset} > $passed;
		$self->count('R', "offset $_->{offset}: the reader passed $passed without it") unless $self->{read}{ $_->{offset} };
	}
	foreach my $offset (keys %{ $self->{read} })
	{
		$self->count('P', "the reader saw offset $offset, which is not there") unless $self->{at_offset}{$offset};
	}
}

sub check_deliveries
{
	my ($self, $name) = @_;
	my ($delivered, $settled) = ($self->{deliveries}{$name} // {}, $self->{settled}{$name} // {});
	my $wants = $Load::subscriptions{$name}{wants};
	my (%before, %wanted);
	foreach my $e (@{ $self->{in_order} })
	{
		next unless $wants->($e);
		my $id = $e->{id};
		my @d = sort { $a->{end} <=> $b->{end} } @{ $delivered->{$id} // [] };
		$wanted{$id} = 1;
		$self->{deliveries_seen} += @d;
		$self->count('S', "$name: offset $e->{offset} was " . (@d ? 'never settled' : 'never delivered'))
		  unless @d && ($settled->{$id} || ($self->{open}{$name}{$id} // 0) > 0);
		$self->check_leases($name, $e, \@d, $settled->{$id});
		next unless $name eq 'ordered';
		$self->check_order($name, $before{ $e->{aggregate} }, $e) if $before{ $e->{aggregate} };
		$before{ $e->{aggregate} } = $e;
	}
	foreach my $id (keys %$delivered)
	{
		my $offset = $delivered->{$id}[0]{offset};
		next if $wanted{$id} || $offset <= $self->{from};
		$self->count('P', "$name: $id (offset $offset) was delivered, and is not for it or not there");
	}
}

# Once settled, never again; and nobody else before a lease is over.
sub check_leases
{
	my ($self, $name, $e, $d, $settled) = @_;
	for my $k (1 .. $#$d)
	{
		$self->count('F', "$name: offset $e->{offset} was delivered after it was settled")
		  if defined $settled && $d->[$k]{begin} > $settled;
		my $before = $d->[ $k - 1 ];
		$self->count('V', "$name: offset $e->{offset} was leased twice within " . sprintf('%.3f s', $d->[$k]{end} - $before->{begin}))
		  if $before->{kind} eq 'lease' && !$before->{over} && $d->[$k]{end} < $before->{begin} + $self->{lease} - 0.1;    # clocks differ a little
	}
}

# Until an event is settled, the next of its aggregate comes with it or not at all.
sub check_order
{
	my ($self, $name, $first, $next) = @_;
	my $deliveries = $self->{deliveries}{$name};
	my $settled = $self->{settling}{$name}{ $first->{id} } // $self->{tried}{$name}{ $first->{id} } // return;
	my %with = map { ("$_->{file} $_->{end}" => 1) } @{ $deliveries->{ $first->{id} } // [] };
	foreach (@{ $deliveries->{ $next->{id} } // [] })
	{
		next if $_->{end} >= $settled || $with{"$_->{file} $_->{end}"};
		$self->count('O', "$name: offset $next->{offset} of $next->{aggregate} came before $first->{offset} was settled");
	}
}

# Exactly once where the work is in the transaction of the ack.
sub check_applied
{
	my ($self) = @_;
	my %applied;
	$applied{ $_->[0] }++ foreach $self->rows('SELECT event_id FROM applied');
	foreach (@{ $self->{in_order} })
	{
		my $n = $applied{ $_->{id} } // 0;
		$self->count('S', "exact: offset $_->{offset} was not applied") if $n == 0;
		$self->count('D', "exact: offset $_->{offset} was applied $n times") if $n > 1;
	}
}

# After the load everything is settled, and so it is nowhere else.
sub check_queue
{
	my ($self) = @_;
	my ($queued, $dead) = @{ ($self->rows('SELECT (SELECT queued FROM eb_stat_bus), (SELECT count(*) FROM eventbus.dead_letter)'))[0] };
	$self->count('Q', 'events are still queued') foreach 1 .. $queued;
	$self->count('Q', 'events are dead letters, too') foreach 1 .. $dead;
}

# The 99th percentile of how long transactions of one event took that began in an
# interval, and how many there were.
sub latency
{
	my ($self, $from, $to) = @_;
	my ($intent, $at) = @{$self}{qw(intent at)};
	my @took = sort { $a <=> $b } map { $at->{$_} - $intent->{$_}{at} }
	  grep { $intent->{$_}{kind} eq 'one' && $intent->{$_}{at} >= $from && $intent->{$_}{at} < $to && $self->{outcome}{$_} eq 'ok' } keys %$intent;
	return ($took[ $#took * 0.99 ] // 0, scalar @took);
}

sub events
{
	my ($self) = @_;
	return $self->{counted} // scalar @{ $self->{in_order} };
}

1;
