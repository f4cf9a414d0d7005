# Random steps against a reference model: after each, every event of every
# subscription is in exactly one of queued, leased, acked and dead, its attempts
# are exact, and so is the order of each aggregate in the ordered subscription.
#
# EB_SEED repeats a run, EB_MODEL_STEPS sets its length.  Without that a slow machine
# walks fewer steps: a run ends after a time, too.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../model";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use EbSession;
use Model;

my $seed = $ENV{EB_SEED} || time ^ $$;
my $steps = $ENV{EB_MODEL_STEPS} || 2500;
my $seconds = $ENV{EB_MODEL_STEPS} ? 1e9 : 75;
my @trace;

my $node = PostgreSQL::Test::Cluster->new('model');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\neventbus.segment_events = 500\neventbus.relay = off\n"
  . "eventbus.queue_rotate_size = 64kB\n");
$node->start;
my $connstr = $node->connstr('postgres');
my ($s, $model, $relay, %stale, %did, %spent);

sub pick { return $_[ rand @_ ]; }

sub sql
{
	my ($sql) = @_;
	push @trace, $sql;
	shift @trace if @trace > 40;
	return $s->query($sql);
}

# As sql, but it must succeed.
sub do_sql
{
	my ($sql) = @_;
	my $rows = sql($sql);
	$model->problem("$sql: $s->{state} $s->{error}") unless defined $rows;
	return $rows // '';
}

sub emit
{
	my $n = 1 + int rand 5;
	my @events;
	for (1 .. $n)
	{
		my $type = pick(qw(a.one a.two b.one));
		my $e = qq("type":"$type","payload":{"v":) . int(rand 10) . '}';
		$e .= ',"aggregate_id":"g' . int(rand 5) . '"' if $type ne 'b.one';
		$e .= ',"priority":' . int rand 3 if rand() < 0.3;
		$e .= ',"deliver_at":"' . do_sql("SELECT clock_timestamp() + interval '40 ms'") . '"' if $type eq 'b.one' && rand() < 0.3;
		push @events, "{$e}";
	}
	my $emit = "SELECT eb_emit('[" . join(',', @events) . "]'::jsonb)";
	my $how = rand;
	if ($how < 0.1) { do_sql("BEGIN;\n$emit;\nROLLBACK"); return; }
	if ($how < 0.2) { do_sql("BEGIN;\nSAVEPOINT a;\n$emit;\nROLLBACK TO a;\n$emit;\nCOMMIT"); }
	else { do_sql($emit); }
	my $rows = do_sql(q{SELECT "offset", event_id, type, aggregate_id, payload->>'v', extract(epoch FROM deliver_at) FROM eb_read(} . ($model->{last} + 1) . ')');
	my $new = 0;
	foreach (split /\n/, $rows)
	{
		my ($offset, $id, $type, $aggregate, $v, $due) = split /\|/, $_, -1;
		$model->problem("offset $offset after $model->{last}") if $offset <= $model->{last};
		$model->{last} = $offset;
		$model->{at}{$offset} = 1;
		$model->emit($id, offset => $offset, type => $type, aggregate => $aggregate, v => $v, due => $due eq '' ? undef : $due);
		$new++;
	}
	$model->problem("$new events of $n in the log") if $new != $n;
}

# Everything in the log reaches the queue.
sub route
{
	if ($relay)
	{
		my $deadline = time + 180;
		my $lag;
		do { $lag = do_sql('SELECT lag FROM eb_stat_bus') } while ($lag ne '0' && time < $deadline);
		$model->problem("relay lags by $lag") if $lag ne '0';
	}
	else { do_sql('SELECT eb_relay_run()'); }
	$model->route;
}

sub fetch
{
	my ($name) = @_;
	my $sub = $model->{subs}{$name};
	my $n = 1 + int rand 15;
	my $lease = rand() < 0.4 ? 0.03 : 60;
	my $back = rand() < 0.15;
	my $query = "SELECT receipt, attempt, replayed, \"offset\", event_id, extract(epoch FROM statement_timestamp()), "
	  . "extract(epoch FROM clock_timestamp()) FROM eb_fetch('$name', $n, '$lease s')";
	my $rows = do_sql($back ? "BEGIN;\n$query;\nROLLBACK" : $query);
	my @rows = split /\n/, $rows;
	$model->problem("$name: " . @rows . " rows of $n") if @rows > $n;
	return if $back;
	foreach (@rows)
	{
		my %row;
		@row{qw(receipt attempt replayed offset id begin end)} = split /\|/;
		$row{until} = $row{begin} + $lease;
		$model->fetched($name, \%row);
	}
}

# A receipt that the model takes for current, and perhaps some of its events.
sub lease_of
{
	my ($name) = @_;
	my @receipts = sort { $a <=> $b } keys %{ $model->{subs}{$name}{leases} };
	return unless @receipts;
	my $receipt = pick(@receipts);
	my $ids;
	if (rand() < 0.4)
	{
		my %all = map { $_->[0] => 1 } @{ $model->{subs}{$name}{leases}{$receipt} };
		$ids = [ grep { rand() < 0.5 } sort keys %all ];
		$ids = undef unless @$ids;
	}
	return ($receipt, $ids);
}

sub array { my ($ids) = @_; return $ids ? ", '{" . join(',', @$ids) . "}'" : ', NULL'; }

# A lease that is over may have been taken from us unnoticed: by the relay, which
# buries what has no attempts left, or, where an event has more than one copy, by a
# fetch that the model took for one of the other.
sub may_be_gone
{
	my ($name, $receipt) = @_;
	my $sub = $model->{subs}{$name};
	my @leased = @{ $sub->{leases}{$receipt} };
	my $now = do_sql('SELECT extract(epoch FROM clock_timestamp())');
	return 0 if grep { $_->[1]{until} > $now } @leased;
	return 1 if $relay && !grep { $_->[1]{attempt} < $sub->{max_attempts} } @leased;
	return scalar grep { @{ $sub->{events}{ $_->[0] }{copies} } > 1 } @leased;
}

sub settle
{
	my ($name, $what) = @_;
	my ($receipt, $ids) = lease_of($name);
	return unless defined $receipt;
	my $whole = !$ids;
	my ($expected, $call, $after);
	my $retryable = rand() < 0.8;
	if ($what eq 'ack') { $call = "eb_ack($receipt" . array($ids) . ')'; }
	elsif ($what eq 'nack')
	{
		my $reason = $retryable ? pick('DeliveryFailed', 'HandlerTimeout') : pick('ValidationFailed', 'HandlerMissing');
		$after = rand() < 0.5 ? 0 : 0.02;
		$call = "eb_nack($receipt" . array($ids) . ", 'no', '$reason', '$after s')";
	}
	else { $call = "extract(epoch FROM eb_extend($receipt, '" . ($after = rand() < 0.3 ? 0.03 : 60) . " s'))"; }
	my $rolled = rand() < 0.1;
	my $rows = sql($rolled ? "BEGIN;\nSELECT $call;\nROLLBACK" : "SELECT $call, extract(epoch FROM statement_timestamp())");
	if (!defined $rows)
	{
		my ($state, $error) = @{$s}{qw(state error)};
		$model->problem("$call: $state $error") unless $state eq '55000' && may_be_gone($name, $receipt);
		sql('ROLLBACK') if $rolled;
		return;
	}
	return if $rolled;
	my ($n, $begin) = split /\|/, $rows;
	if ($what eq 'extend')
	{
		$_->[1]{until} = $begin + $after foreach @{ $model->{subs}{$name}{leases}{$receipt} };
		return;
	}
	$expected = $what eq 'ack' ? $model->settle($name, $receipt, $ids, 'acked')
	  : $model->nack($name, $receipt, $ids, $retryable, $begin + $after);
	$model->problem("$call said $n, not $expected") if $n != $expected;
	$stale{$receipt} = 1 unless $model->{subs}{$name}{leases}{$receipt};
}

sub stale
{
	my ($receipt) = pick(sort { $a <=> $b } keys %stale) // return;
	my $call = pick("eb_ack($receipt)", "eb_nack($receipt)", "eb_extend($receipt)");
	my $rows = sql("SELECT $call");
	$model->problem("$call of a stale receipt: " . ($rows // $s->{state})) if defined $rows || $s->{state} ne '55000';
}

sub replay
{
	my ($name) = @_;
	return unless $model->{last};
	my $from = 1 + int rand $model->{last};
	my $to = $from + int rand 6;
	# What the relay has not reached is not in the model's queue, but may be replayed.
	my $rows = do_sql("SELECT eb_replay('$name', $from, $to)");
	my $expected = $model->replay($name, $from, $to);
	$model->problem("eb_replay($from, $to) of $name said $rows, not $expected") if $rows ne $expected;
}

# Offsets of a row of the queue.
sub offsets
{
	my ($first, $last, $events, $hex) = @_;
	my @offsets;
	if ($hex eq '')
	{
		@offsets = grep { $model->{at}{$_} } $first .. $last;
		$model->problem("a dense delivery of $first to $last has $events events") if @offsets != $events;
		return @offsets;
	}
	my ($at, $delta, $shift) = ($first, 0, 0);
	foreach my $byte (unpack 'C*', pack 'H*', $hex)
	{
		$delta |= ($byte & 0x7f) << $shift;
		$shift += 7;
		next if $byte & 0x80;
		push @offsets, $at += $delta;
		($delta, $shift) = (0, 0);
	}
	return @offsets;
}

sub check
{
	my (%queue, %dead);
	my $now;
	my $rows = do_sql(q{BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT 'now', extract(epoch FROM clock_timestamp());
		SELECT 'queue', s.name, first_offset, last_offset, events, attempt, d.replayed, lease_until IS NOT NULL, encode(offsets, 'hex')
			FROM eventbus.delivery d LEFT JOIN eventbus.subscription s ON s.id = subscription_id;
		SELECT 'dead', subscription, "offset", attempts FROM eventbus.dead_letter;
		COMMIT});
	foreach (split /\n/, $rows)
	{
		my ($kind, @f) = split /\|/, $_, -1;
		if ($kind eq 'now') { $now = $f[0]; }
		elsif ($kind eq 'dead') { push @{ $dead{ $f[0] } }, { offset => $f[1], attempts => $f[2] }; }
		else
		{
			push @{ $queue{ $f[0] } }, map { { offset => $_, attempt => $f[4], replayed => $f[5], leased => $f[6] } }
			  offsets(@f[ 1 .. 3 ], $f[7]);
		}
	}
	foreach my $name (sort keys %{ $model->{subs} })
	{
		$model->compare($name, $queue{$name} // [], $dead{$name} // [], $now);
	}
}

sub restart
{
	my ($how) = @_;
	$s->close;
	$node->stop($how);
	$node->start;
	$s = EbSession->connect($connstr, 'model', time + 30) or die 'server is not back';
	my $last = do_sql('SELECT eb_last_offset()');
	$model->problem("safe offset $last after a restart, was $model->{last}") if $last < $model->{last};
}

sub step
{
	my ($i, $restarts) = @_;
	my $name = pick(sort keys %{ $model->{subs} });
	my $r = rand;
	my ($what, $began) = (undef, time);
	if ($restarts->{$i}) { $what = 'restart'; restart($restarts->{$i}); }
	elsif ($r < 0.22) { $what = 'emit'; emit(); }
	elsif ($r < 0.34) { $what = 'route'; route(); }
	elsif ($r < 0.58) { $what = 'fetch'; fetch($name); }
	elsif ($r < 0.80) { $what = 'ack'; settle($name, 'ack'); }
	elsif ($r < 0.88) { $what = 'nack'; settle($name, 'nack'); }
	elsif ($r < 0.91) { $what = 'extend'; settle($name, 'extend'); }
	elsif ($r < 0.94) { $what = 'stale'; stale(); }
	elsif ($r < 0.955) { $what = 'replay'; route(); replay($name); }
	elsif ($r < 0.97)
	{
		$what = 'dlq_replay';
		my $n = do_sql("SELECT eb_dlq_replay(subscription => '$name')");
		my $expected = $model->dlq_replay($name);
		$model->problem("eb_dlq_replay of $name said $n, not $expected") if $n ne $expected && !$relay;
	}
	else
	{
		$what = 'pause';
		my $sub = $model->{subs}{$name};
		my $pause = $sub->{paused} ? 0 : rand() < 0.4;
		do_sql('SELECT ' . ($pause ? 'eb_pause' : 'eb_resume') . "('$name')");
		$sub->{paused} = $pause;
	}
	$did{$what}++;
	$spent{$what} += time - $began;
	# A relay routes when it likes: what is checked is what it has come to.
	route() if $relay;
	check();
}

# A run from a fresh database; true if the model and the server agree to the end.
sub run
{
	my ($title, $with_relay, $n, $limit, $restarts) = @_;
	my $start = time;
	srand $seed;
	$relay = $with_relay;
	%stale = %did = %spent = @trace = ();
	$model = Model->new;
	$model->{last} = 0;
	$node->safe_psql('postgres', 'DROP EXTENSION IF EXISTS eventbus CASCADE; DROP SCHEMA IF EXISTS eventbus CASCADE');
	$node->safe_psql('postgres', q{CREATE EXTENSION eventbus});
	$node->safe_psql('postgres', q{
		SELECT eb_subscribe('every', batch_size => 7, max_attempts => 3, backoff => '5 ms');
		SELECT eb_subscribe('some', '{a.*, !a.two}', '$.v > 3', batch_size => 10, max_attempts => 2, backoff => '5 ms');
		SELECT eb_subscribe('ordered', '{a.*}', ordering => 'aggregate', batch_size => 5, max_attempts => 4, backoff => '5 ms')});
	$model->subscribe('every', max_attempts => 3, wants => sub { 1 });
	$model->subscribe('some', max_attempts => 2, wants => sub { $_[0]{type} eq 'a.one' && $_[0]{v} > 3 });
	$model->subscribe('ordered', max_attempts => 4, ordered => 1, wants => sub { $_[0]{type} ne 'b.one' });
	$s = EbSession->connect($connstr, 'model', time + 30) or die 'cannot connect';
	my $i = 0;
	while ($i < $n && time - $start < $limit && !@{ $model->{problems} }) { step(++$i, $restarts); }
	my $ok = ok(!@{ $model->{problems} }, "$title: $i steps, EB_SEED=$seed");
	diag join "\n", "step $i:", @{ $model->{problems} }[ 0 .. (@{ $model->{problems} } > 8 ? 7 : $#{ $model->{problems} }) ], 'after:', @trace unless $ok;

	# All that is left can be had and settled.
	my $deadline = time + 180;
	my $left = 1;
	while ($ok && $left && time < $deadline)
	{
		route();
		foreach my $name (sort keys %{ $model->{subs} })
		{
			do_sql("SELECT eb_resume('$name')") if $model->{subs}{$name}{paused};
			$model->{subs}{$name}{paused} = 0;
			fetch($name);
			foreach my $receipt (sort { $a <=> $b } keys %{ $model->{subs}{$name}{leases} })
			{
				# It may have run out: then its event comes once more, or is dead.
				my $n = sql("SELECT eb_ack($receipt)");
				$model->settle($name, $receipt, undef, 'acked') if defined $n;
			}
		}
		check();
		$left = grep { scalar $model->copies($_, 'queued', 'leased') } keys %{ $model->{subs} };
		last if @{ $model->{problems} };
	}
	ok(!$left && !@{ $model->{problems} }, "$title: drained") or diag join "\n", @{ $model->{problems} };
	note sprintf '%s: %d events in %.1f s; %s', $title, scalar(keys %{ $model->{log} }), time - $start,
	  join ', ', map { sprintf '%d %s (%.1f s)', $did{$_}, $_, $spent{$_} } sort keys %did;
	$s->close;
	return $ok;
}

my @at = sort { $a <=> $b } map { int($steps * $_) } 0.1, 0.3, 0.6;
run('without a relay', 0, $steps, $seconds, { $at[0] => 'immediate', $at[1] => 'fast', $at[2] => 'immediate' });
$node->append_conf('postgresql.conf', "eventbus.relay = on\n");
$node->reload;
run('with a relay', 1, int($steps / 3), $seconds / 2, { int($steps / 12) => 'immediate' });
$node->stop('fast');
done_testing();
