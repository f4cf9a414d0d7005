# The load: producers, consumers and a reader in processes of their own, which go
# on through whatever happens to the server and write a ledger.
#
#	my $load = Load->new($node, folder => $dir, %option);
#	$load->start; ...; $load->stop_producers; ...; $load->stop;
#
# README.md lists the options.  Five subscriptions get everything the producers
# emit, each in its own way; see %subscriptions.
package Load;
use strict;
use warnings;
use EbSession;
use Ledger;
use Time::HiRes qw(time);

# How each is made, what it wants of {i, type}, and how its consumers behave:
# "lease" fetches and settles apart, "tx" in one transaction with a row of its
# own, "slow" takes its time over few events.
our %subscriptions = (
	plain => { args => "'{load.>,!load.*.slow}'", kind => 'lease', wants => sub { $_[0]{type} !~ /slow/ } },
	filtered => { args => q('{load.>}', filter => '$.i == 1'), kind => 'lease', wants => sub { $_[0]{i} == 1 } },
	ordered => { args => q('{load.>}', ordering => 'aggregate'), kind => 'lease', wants => sub { 1 } },
	exact => { args => "'{load.>}'", kind => 'tx', wants => sub { 1 } },
	slow => { args => q('{load.*.slow}', batch_window => '50 ms'), kind => 'slow', wants => sub { $_[0]{type} =~ /slow/ } });
my @in_turn = qw(plain exact ordered filtered slow plain exact ordered);

sub new
{
	my ($class, $node, %option) = @_;
	my $self = bless {
		producers => 16, consumers => 8, db => 'postgres', lease => 2, pause => 0.03, seed => 1,
		async => 0, lsn => 0, kinds => '', %option
	}, $class;
	die 'Load needs a folder' unless $self->{folder};
	mkdir $self->{folder};
	$self->point_at($node);
	return $self;
}

# Makes the tables and subscriptions; once, on the primary.
sub install
{
	my ($self) = @_;
	my $sql = q{
		CREATE EXTENSION IF NOT EXISTS eventbus;
		CREATE TABLE marker (n bigserial PRIMARY KEY, tx text, event_id uuid);
		CREATE TABLE applied (subscription text, event_id uuid);};
	foreach my $name (sort keys %subscriptions)
	{
		$sql .= "SELECT eb_subscribe('$name', $subscriptions{$name}{args}, lease => '$self->{lease} s', "
		  . "max_attempts => 100000, backoff => '10 ms', backoff_max => '100 ms');\n";
	}
	$self->{node}->safe_psql($self->{db}, $sql);
	return $self;
}

# From now on the load connects to this node.
sub point_at
{
	my ($self, $node) = @_;
	my $file = "$self->{folder}/connstr";
	$self->{node} = $node;
	open my $out, '>', "$file.new" or die "$file: $!";
	print $out $node->connstr($self->{db});
	close $out or die $!;
	rename "$file.new", $file or die $!;
}

sub connstr
{
	my ($self) = @_;
	open my $in, '<', "$self->{folder}/connstr" or die $!;
	return scalar <$in>;
}

# A session, as soon as there is a server; undef once the flag file exists.
sub session
{
	my ($self, $name, $flag) = @_;
	until (-e "$self->{folder}/$flag")
	{
		my $s = EbSession->connect($self->connstr, $name, time + 5, 0.25);
		return $s if $s;
		select undef, undef, undef, 0.05;
	}
	return undef;
}

sub start
{
	my ($self) = @_;
	my $n = $self->{round} = ($self->{round} // 0) + 1;
	unlink map { "$self->{folder}/$_" } qw(stopped drained);
	$self->{producer_pids} = [ map { my $w = $_; EbSession::in_child(sub { $self->producer("$n.$w", $w) }) } 1 .. $self->{producers} ];
	$self->{consumer_pids} = [ map { my $c = $_; EbSession::in_child(sub { $self->consumer("$n.$c", $in_turn[ $c % @in_turn ]) }) } 0 .. $self->{consumers} - 1 ];
	push @{ $self->{consumer_pids} }, EbSession::in_child(sub { $self->reader("$n.0") });
	return $self;
}

sub flag
{
	my ($self, $name) = @_;
	open my $out, '>', "$self->{folder}/$name" or die $!;
}

# How many processes of the load failed.
sub stop_producers
{
	my ($self) = @_;
	$self->flag('stopped');
	return EbSession::wait_children(@{ delete $self->{producer_pids} // [] });
}

sub stop
{
	my ($self) = @_;
	my $failed = $self->stop_producers;
	$self->flag('drained');
	return $failed + EbSession::wait_children(@{ delete $self->{consumer_pids} // [] });
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	kill 'KILL', @{ $self->{producer_pids} // [] }, @{ $self->{consumer_pids} // [] } if ($self->{owner} // $$) == $$;
}

# --- producers ---------------------------------------------------------------

sub uuid7
{
	my $ms = int(time * 1000);
	return sprintf '%08x-%04x-7%03x-%04x-%06x%06x', $ms >> 16, $ms & 0xffff, rand 0x1000, 0x8000 | rand 0x4000, rand 0x1000000, rand 0x1000000;
}

# Emits events $from .. $from + n - 1 of a transaction; @$ids are the caller's own.
sub emit
{
	my ($w, $tx, $from, $n, $ids) = @_;
	my $aggregate = int rand 20;
	my $pace = rand() < 0.05 ? 'slow' : 'fast';
	my $id = $ids ? "('{" . join(',', @$ids) . "}'::uuid[])[i]" : 'NULL';
	return "WITH e AS MATERIALIZED (SELECT eb_emit('load.w$w.$pace', jsonb_build_object('tx', '$tx', 'i', i, 'after', "
	  . "(SELECT event_id FROM marker ORDER BY n DESC LIMIT 1)), 'a$aggregate', $id) AS id FROM generate_series($from, "
	  . ($from + $n - 1) . ") i) INSERT INTO marker (tx, event_id) SELECT '$tx', id FROM e ORDER BY id DESC LIMIT 1";
}

# A transaction: kind, events that must appear, statements, end, the caller's ids.
sub transaction
{
	my ($w, $tx) = @_;
	my $r = rand;
	my $n = 2 + int rand 30;
	return [ 'one', 1, emit($w, $tx, 1, 1), 'COMMIT' ] if $r < 0.5;
	return [ 'many', $n, emit($w, $tx, 1, $n), 'COMMIT' ] if $r < 0.75;
	return [ 'rollback', $n, emit($w, $tx, 1, $n), 'ROLLBACK' ] if $r < 0.8;
	# What is numbered from 1001 on was rolled back to a savepoint.
	return [ 'savepoint', 3, join(";\n", emit($w, $tx, 1, 2), 'SAVEPOINT a', emit($w, $tx, 1001, 5), 'SAVEPOINT b',
		emit($w, $tx, 1010, 2), 'ROLLBACK TO a', emit($w, $tx, 3, 1), 'RELEASE a'), 'COMMIT' ] if $r < 0.88;
	return [ 'exception', 2, 'DO $$ BEGIN ' . emit($w, $tx, 1, 1) . '; BEGIN ' . emit($w, $tx, 1001, 3)
		. '; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN ' . emit($w, $tx, 2, 1) . '; END; END $$', 'COMMIT' ] if $r < 0.93;
	my @ids = map { uuid7() } 1 .. 3;
	return [ 'own_id', 3, emit($w, $tx, 1, 3, \@ids), 'COMMIT', \@ids ];
}

# Sends BEGIN and the statements, then the end; says how it went.  Only a
# connection that dies inside COMMIT leaves it open.
sub attempt
{
	my ($self, $s, $out, $body, $end) = @_;
	my $commit = $end eq 'COMMIT';
	if (!defined $s->query("BEGIN;\n$body"))
	{
		$self->note_error($out, 'emit', $s);
		$s->query('ROLLBACK') unless $s->{lost};
		return 'failed';
	}
	return $commit ? $self->{async} ? 'async' : 'ok' : 'failed' if defined $s->query($end);
	return 'failed' unless $commit;
	return 'unknown' if $s->{lost} || $s->{state} =~ /^(57|08)/ || $s->{state} eq '';
	$self->note_error($out, 'commit', $s);
	return 'failed';
}

sub note_error
{
	my ($self, $out, $what, $s) = @_;
	return if $s->{lost};
	$out->write('error', $what, $s->{state} || '-----', $s->{error} // '');
	select undef, undef, undef, 0.02;
}

sub producer
{
	my ($self, $name, $w) = @_;
	srand $self->{seed} + 1000 * $self->{round} + $w;
	my $out = Ledger->open($self->{folder}, "producer.$name");
	my ($s, $twin);
	for (my $t = 1; !-e "$self->{folder}/stopped"; $t++)
	{
		if (!$s || $s->{lost} || ($twin && $twin->{lost}))
		{
			$_->close foreach grep { $_ } $s, $twin;
			($s, $twin) = ($self->session("producer $w", 'stopped'), undef);
			last unless $s;
			$s->query('SET synchronous_commit = off') if $self->{async};
			$twin = $self->session("producer $w twin", 'stopped') if $w <= 2;
		}
		my $tx = "$name:$t";
		if ($twin && rand() < 0.2) { $self->twins($s, $twin, $out, $w, $tx); }
		else { $self->one($s, $out, $w, $tx, $name); }
		select undef, undef, undef, $self->{pause} * (0.5 + rand) if $self->{pause};
	}
	$_->close foreach grep { $_ } $s, $twin;
}

sub one
{
	my ($self, $s, $out, $w, $tx, $name) = @_;
	my ($kind, $n, $body, $end, $ids) = @{ transaction($w, $tx) };
	$out->write_sync('intent', $tx, $n, $kind, Ledger::now());
	my $outcome = $self->attempt($s, $out, $body, $end);
	my $lsn = '';
	$lsn = $s->query('SELECT pg_current_wal_insert_lsn()') // '' if $self->{lsn} && $outcome eq 'ok';
	$out->write_sync($outcome, $tx, Ledger::now(), $lsn);
	return unless $ids && $outcome eq 'unknown';
	# Whoever does not know tries again with the same ids.
	my $again = $self->session("producer $w", 'stopped') or return;
	$outcome = $self->attempt($again, $out, $body, $end);
	$out->write_sync($outcome eq 'failed' ? 'unknown' : $outcome, $tx, Ledger::now(), '');
	$again->close;
}

# Two sessions emit the same ids at the same time.
sub twins
{
	my ($self, $s, $twin, $out, $w, $tx) = @_;
	my @ids = map { uuid7() } 1 .. 2;
	my $body = emit($w, $tx, 1, 2, \@ids);
	my $end = rand() < 0.7 ? 'COMMIT' : 'ROLLBACK';
	$out->write_sync('intent', $tx, 2, 'twins', Ledger::now());
	my @outcomes;
	if (defined $s->query("BEGIN;\n$body"))
	{
		$twin->send("BEGIN;\n$body");    # waits for the first
		my $ok = defined $s->query($end);
		push @outcomes, !$ok && $end eq 'COMMIT' ? 'unknown' : $end eq 'COMMIT' ? 'ok' : 'failed';
		if (defined $twin->receive) { push @outcomes, defined $twin->query('COMMIT') ? 'ok' : 'unknown'; }
		elsif (!$twin->{lost}) { $self->note_error($out, 'emit', $twin); $twin->query('ROLLBACK'); }
	}
	elsif (!$s->{lost}) { $self->note_error($out, 'emit', $s); $s->query('ROLLBACK'); }
	my ($outcome) = ((grep { $_ eq 'ok' } @outcomes), (grep { $_ eq 'unknown' } @outcomes), 'failed');
	$outcome = 'async' if $outcome eq 'ok' && $self->{async};
	$out->write_sync($outcome, $tx, Ledger::now(), '');
}

# --- consumers ---------------------------------------------------------------

sub consumer
{
	my ($self, $c, $name) = @_;
	my ($number) = $c =~ /(\d+)$/;
	srand $self->{seed} + 1000 * $self->{round} + 500 + $number;
	my $kind = $subscriptions{$name}{kind};
	my $me = { out => Ledger->open($self->{folder}, "consumer.$c"), name => $name, kind => $kind };
	until (-e "$self->{folder}/drained")
	{
		if (!$me->{s} || $me->{s}{lost})
		{
			$me->{s}->close if $me->{s};
			$me->{s} = $self->session("consumer $number $name", 'drained') or last;
		}
		if ($kind eq 'tx') { $self->consume_in_one($me); }
		else { $self->consume_apart($me); }
	}
	$me->{s}->close if $me->{s};
}

# Fetches; returns the receipts in order, each with its event ids, or undef.
sub fetch
{
	my ($self, $me, $n) = @_;
	my $begin = Ledger::now();
	my $rows = $me->{s}->query(qq{SELECT receipt, event_id, "offset", aggregate_id FROM eb_fetch('$me->{name}', $n, wait => '100 ms')});
	my $end = Ledger::now();
	if (!defined $rows)
	{
		$self->note_error($me->{out}, 'fetch', $me->{s});
		return undef;
	}
	my (@receipts, %ids, %events);
	foreach (split /\n/, $rows)
	{
		my ($receipt, $id, $offset, $aggregate) = split /\|/;
		push @receipts, $receipt unless $ids{$receipt};
		push @{ $ids{$receipt} }, $id;
		push @{ $events{$receipt} }, "$id,$offset,$aggregate";
	}
	$me->{out}->write('delivery', $me->{name}, $_, $begin, $end, $me->{kind} eq 'tx' ? 'tx' : 'lease', @{ $events{$_} }) foreach @receipts;
	return [ map { [ $_, $ids{$_} ] } @receipts ];
}

# Fetch, work and settle, each in a transaction of its own.
sub consume_apart
{
	my ($self, $me) = @_;
	my ($s, $out, $name) = @{$me}{qw(s out name)};
	my $slow = $me->{kind} eq 'slow';
	my $deliveries = $self->fetch($me, $slow ? 10 : 100) or return;
	my @rest;
	foreach my $d (@$deliveries)
	{
		my ($receipt, $ids) = @$d;
		if (defined $me->{old} && rand() < 0.05)
		{
			$out->write('stale', $name, $me->{old}) if defined $s->query("SELECT eb_ack($me->{old})");
			return if $s->{lost};
		}
		if ($slow)
		{
			select undef, undef, undef, 0.02;
			$s->query("SELECT eb_extend($receipt)");
			return if $s->{lost};
		}
		my $r = rand;
		next if $r < 0.01;    # forgotten: the lease runs out
		if ($r < 0.05)
		{
			$out->write('nack', $name, @$ids);
			$s->query("SELECT eb_nack($receipt)");
			return if $s->{lost};
			next;
		}
		if ($r < 0.1 && @$ids > 1)
		{
			# In part: the first is settled, then the others.
			my $one = shift @$ids;
			$self->settle($me, $receipt, [$one], "SELECT eb_ack($receipt, '{$one}')") or return;
		}
		if ($slow || $r < 0.2) { $self->settle($me, $receipt, $ids, "SELECT eb_ack($receipt)") or return; }
		else { push @rest, $d; }
	}
	$self->settle_together($me, @rest) if @rest;
}

# Most deliveries are settled in one statement; if one of them is stale, one by one.
sub settle_together
{
	my ($self, $me, @deliveries) = @_;
	my @ids = map { @{ $_->[1] } } @deliveries;
	$self->settle($me, $deliveries[-1][0], \@ids, 'SELECT ' . join(', ', map { "eb_ack($_->[0])" } @deliveries)) or return;
	return if ($me->{old} // 0) == $deliveries[-1][0];
	foreach (@deliveries)
	{
		$self->settle($me, $_->[0], $_->[1], "SELECT eb_ack($_->[0])") or return;
	}
}

# Settles and writes it down; false once the session is lost.
sub settle
{
	my ($self, $me, $receipt, $ids, $sql) = @_;
	my ($s, $out) = @{$me}{qw(s out)};
	$out->write('try', $me->{name}, Ledger::now(), @$ids);
	if (defined $s->query($sql))
	{
		$out->write('settled', $me->{name}, Ledger::now(), @$ids);
		$me->{old} = $receipt unless $sql =~ /\{/;
	}
	elsif (!$s->{lost})
	{
		$out->write('refused', $me->{name}, @$ids);
		$self->note_error($out, 'ack', $s);
	}
	return !$s->{lost};
}

# Fetch, the consumer's own row and ack in one transaction: exactly once.
sub consume_in_one
{
	my ($self, $me) = @_;
	my ($s, $out, $name) = @{$me}{qw(s out name)};
	return unless defined $s->query('BEGIN');
	my $deliveries = $self->fetch($me, 100);
	if (!$deliveries)
	{
		$s->query('ROLLBACK') unless $s->{lost};
		return;
	}
	my @ids = map { @{ $_->[1] } } @$deliveries;
	if (@ids)
	{
		$out->write('try', $name, Ledger::now(), @ids);
		my $sql = "INSERT INTO applied SELECT '$name', unnest('{" . join(',', @ids) . "}'::uuid[])";
		$sql .= ";\nSELECT eb_ack($_->[0])" foreach @$deliveries;
		if (!defined $s->query($sql))
		{
			$out->write('refused', $name, @ids);
			$self->note_error($out, 'ack', $s);
			$s->query('ROLLBACK') unless $s->{lost};
			return;
		}
	}
	if (@ids && rand() < 0.03)
	{
		$out->write('refused', $name, @ids);
		$s->query('ROLLBACK');
	}
	elsif (defined $s->query('COMMIT')) { $out->write('settled', $name, Ledger::now(), @ids) if @ids; }
	elsif (!$s->{lost}) { $self->note_error($out, 'commit', $s); $s->query('ROLLBACK'); }
}

# --- the reader --------------------------------------------------------------

# Reads the log and never goes back.
sub reader
{
	my ($self, $name) = @_;
	my $out = Ledger->open($self->{folder}, "reader.$name");
	my ($s, $position) = (undef, $self->{from} // 0);
	until (-e "$self->{folder}/drained")
	{
		if (!$s || $s->{lost})
		{
			$s->close if $s;
			$s = $self->session('reader', 'drained') or last;
		}
		my $last = $s->query('SELECT eb_last_offset()') // next;
		my $rows = $s->query(qq{SELECT "offset", event_id FROM eb_read($position + 1, 1000, '{load.>}')}) // next;
		my @rows = split /\n/, $rows;
		$out->write('read', join ' ', map { tr/|/,/r } @rows) if @rows;
		$position = (split /\|/, $rows[-1])[0] if @rows;
		$position = $last if $last > $position && @rows < 1000;
		$out->write('passed', $position);
		select undef, undef, undef, @rows ? 0.005 : 0.02;
	}
	$s->close if $s;
}

1;
