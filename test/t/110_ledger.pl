# Kills of everything, with a ledger outside of the database: what was committed
# is in the log once, whole and in order, and is settled once in each subscription.
#
# Producers write intent and outcome (ok, failed, unknown: the connection died
# inside COMMIT); consumers write every delivery and every settled receipt; a
# reader writes what it passes.  The ledger and the log are compared at the end.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EbBound;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use EbSession;

my $rounds = $ENV{EB_CRASH_ROUNDS} || 2;
my $seed = $ENV{EB_SEED} || time ^ $$;
my $lease = 2;
note "EB_SEED=$seed";
srand $seed;

my $node = PostgreSQL::Test::Cluster->new('ledger');
$node->init;
$node->append_conf('postgresql.conf', q{
fsync = on
restart_after_crash = on
log_statement = none
eventbus.segment_events = 1000
eventbus.queue_rotate_size = 64kB
});
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION eventbus;
	CREATE TABLE marker (n bigserial PRIMARY KEY, event_id uuid);
	CREATE TABLE applied (subscription text, event_id uuid)});
$node->safe_psql('postgres', qq{
	SELECT eb_subscribe('plain', '{crash.>}', lease => '$lease s', max_attempts => 1000, backoff => '10 ms');
	SELECT eb_subscribe('filtered', '{crash.>}', filter => '\$.i == 1', lease => '$lease s', max_attempts => 1000, backoff => '10 ms');
	SELECT eb_subscribe('ordered', '{crash.>}', ordering => 'aggregate', lease => '$lease s', max_attempts => 1000, backoff => '10 ms')});
my @subscriptions = qw(plain filtered ordered);
my $connstr = $node->connstr('postgres');
my $folder = PostgreSQL::Test::Utils::tempdir();
my $stop = "$folder/stop";
my $drained = "$folder/drained";

sub ledger
{
	my ($name) = @_;
	open my $file, '>', "$folder/$name" or die $!;
	$file->autoflush(1);
	return $file;
}

sub producer
{
	my ($w) = @_;
	srand $seed + $w;
	my $out = ledger("producer.$w");
	my $s;
	for (my $t = 1; !-e $stop; $t++)
	{
		$s->close if $s && $s->{lost};
		$s = EbSession->connect($connstr, "producer $w", time + 60) if !$s || $s->{lost};
		last unless $s;
		my $n = rand() < 0.7 ? 1 : 2 + int rand 30;
		my $end = rand() < 0.9 ? 'COMMIT' : 'ROLLBACK';
		my $aggregate = int rand 20;
		print $out "intent $w:$t $n\n";
		my $ok = defined $s->query(qq{BEGIN;
			WITH e AS MATERIALIZED (SELECT eb_emit('crash.w$w', jsonb_build_object('tx', '$w:$t', 'i', i,
				'after', (SELECT event_id FROM marker ORDER BY n DESC LIMIT 1)), 'a$aggregate') AS id
				FROM generate_series(1, $n) i)
			INSERT INTO marker (event_id) SELECT id FROM e ORDER BY id DESC LIMIT 1});
		my $outcome = 'failed';
		if (!$s->{lost})
		{
			my $ended = defined $s->query($end);
			$outcome = 'ok' if $ok && $ended && $end eq 'COMMIT';
			$outcome = 'unknown' if $ok && $s->{lost} && $end eq 'COMMIT';
		}
		print $out "$outcome $w:$t\n";
	}
}

# Odd consumers do all in one transaction, the others fetch and settle apart.
sub consumer
{
	my ($c, $name) = @_;
	srand $seed + 100 + $c;
	my $out = ledger("consumer.$c");
	my ($s, $old);
	my $fetch = "SELECT receipt, event_id, \"offset\", aggregate_id, extract(epoch FROM statement_timestamp()), "
	  . "extract(epoch FROM clock_timestamp()) FROM eb_fetch('$name', 40, wait => '100 ms')";
	until (-e $drained)
	{
		$s->close if $s && $s->{lost};
		$s = EbSession->connect($connstr, "consumer $c", time + 60) if !$s || $s->{lost};
		last unless $s;
		my $one = $c % 2;
		$s->query('BEGIN') if $one;
		my $rows = $s->query($fetch);
		if (!defined $rows)
		{
			die "fetch: $s->{state} $s->{error}" unless $s->{lost} || $s->{state} =~ /^57/;
			$s->query('ROLLBACK') if $one && !$s->{lost};
			next;
		}
		my %of;
		foreach (split /\n/, $rows)
		{
			my ($receipt, $id, $offset, $aggregate, $begin, $end) = split /\|/;
			print $out "delivery $name $id $offset $aggregate $receipt $begin $end " . ($one ? 'tx' : 'lease') . "\n";
			push @{ $of{$receipt} }, $id;
		}
		my @settled;
		foreach my $receipt (sort { $a <=> $b } keys %of)
		{
			my $ids = $of{$receipt};
			if (!$one && defined $old && rand() < 0.1)
			{
				my $accepted = $s->query("SELECT eb_ack($old)");
				print $out "stale $name $old\n" if defined $accepted;
				last if $s->{lost};
			}
			if (rand() < 0.05)
			{
				$s->query("SELECT eb_nack($receipt)");
				print $out "nack $name @$ids\n";
				last if $s->{lost};
				next;
			}
			my $applied = $one ? 'INSERT INTO applied SELECT ' . "'$name', unnest('{" . join(',', @$ids) . "}'::uuid[]);\n" : '';
			print $out "try $name @$ids\n";
			my $acked = $s->query("${applied}SELECT eb_ack($receipt)");
			if (defined $acked)
			{
				push @settled, [ $receipt, $ids ];
				print $out 'settled ' . join(' ', $name, time, @$ids) . "\n" unless $one;
				$old = $receipt;
			}
			elsif ($s->{lost}) { last; }
			elsif ($s->{state} ne '55000' && $s->{state} !~ /^57|^25P02/) { die "ack: $s->{state} $s->{error}"; }
		}
		if ($one && !$s->{lost} && defined $s->query('COMMIT') && @settled)
		{
			# A statement that failed has made ROLLBACK of it; then nothing is settled.
			my $probe = $settled[0][1][0];
			my $there = $s->query("SELECT count(*) FROM applied WHERE subscription = '$name' AND event_id = '$probe'");
			if ($there) { print $out 'settled ' . join(' ', $name, time, @{ $_->[1] }) . "\n" foreach @settled; }
		}
	}
}

sub reader
{
	my $out = ledger('reader');
	my ($s, $position) = (undef, 0);
	until (-e $drained)
	{
		$s->close if $s && $s->{lost};
		$s = EbSession->connect($connstr, 'reader', time + 60) if !$s || $s->{lost};
		last unless $s;
		my $last = $s->query('SELECT eb_last_offset()') // next;
		my $rows = $s->query(qq{SELECT "offset", event_id FROM eb_read($position + 1, 1000, '{crash.>}')}) // next;
		my @rows = split /\n/, $rows;
		print $out "$_\n" foreach @rows;
		$position = (split /\|/, $rows[-1])[0] if @rows;
		$position = $last if $last > $position && @rows < 1000;
		print $out "passed $position\n";
		select undef, undef, undef, 0.005 unless @rows;
	}
}

# The pids whose activity matches, from a session of its own.
sub pids
{
	my ($where) = @_;
	my $s = EbSession->connect($connstr, 'killer', time + 30) or die 'cannot connect';
	my $rows = $s->query("SELECT pid FROM pg_stat_activity WHERE $where") // '';
	$s->close;
	return split /\n/, $rows;
}

sub wait_up
{
	my ($what) = @_;
	my $s = EbSession->connect($connstr, 'killer', time + 30) or die "server is not back after $what";
	$s->close;
}

# The load runs on until as much as that is committed.
sub let_run
{
	my ($events) = @_;
	my $deadline = time + 5;
	my $s = EbSession->connect($connstr, 'killer', time + 30) or die 'cannot connect';
	my $from = $s->query('SELECT eb_last_offset()') // 0;
	while (time < $deadline)
	{
		my $now = $s->query('SELECT eb_last_offset()');
		last if !defined $now || $now >= $from + $events;
		select undef, undef, undef, 0.02;
	}
	$s->close;
}

sub kill_backend
{
	my ($what, $where) = @_;
	my @pids = pids($where);
	if (!@pids) { note "no $what to kill"; return; }
	# The postmaster may not have noticed yet when the next connection is made.
	my $witness = EbSession->connect($connstr, 'killer', time + 30) or die 'cannot connect';
	$witness->send('SELECT pg_sleep(10)');
	kill('KILL', $pids[ rand @pids ]) and $witness->receive;
	$witness->close;
	wait_up($what);
}

sub kill_all
{
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	kill 'STOP', $postmaster;    # so that it makes no more children
	chomp(my @children = `ps -o pid= --ppid $postmaster`);
	$node->kill9;
	kill 'KILL', @children;
	foreach my $pid (@children) { select undef, undef, undef, 0.01 while kill 0, $pid; }
	$node->start;
}

# A reader may pass offsets that were reserved and given up; a crash that leaves
# nothing of them must not give them away again.
sub gap
{
	my ($how) = @_;
	my $holder = EbSession->new($connstr, 'holder');
	my $victim = EbSession->new($connstr, 'victim');
	my $pid = $victim->backend;
	$holder->must('SELECT pg_advisory_lock(7431)');
	$victim->must("SET eventbus.debug_hold = 'after_reserve'");
	$victim->send("SELECT eb_emit('gap.given_up', '{}') FROM generate_series(1, 10)");
	$node->poll_query_until('postgres', "SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE pid = $pid") or die 'no hold';
	$holder->must("SELECT pg_cancel_backend($pid)");
	die 'was not cancelled' if defined $victim->receive;
	my $passed = $holder->must('SELECT eb_last_offset()');
	$_->close foreach $holder, $victim;
	$how eq 'all' ? kill_all() : kill_backend($how, "application_name = 'eventbus launcher' OR backend_type = 'eventbus launcher'");
	my $id = $node->safe_psql('postgres', "SELECT eb_emit('gap.next', '{}')");
	cmp_ok($node->safe_psql('postgres', qq{SELECT "offset" FROM eb_get('$id')}), '>', $passed,
		"no new event at or below what a reader has passed ($passed)");
}

$node->append_conf('postgresql.conf', 'eventbus.relay = off');
$node->reload;
gap('all');
gap('launcher');
$node->append_conf('postgresql.conf', 'eventbus.relay = on');
$node->reload;

my @producers = map { my $w = $_; EbSession::in_child(sub { producer($w) }) } 1 .. 6;
my @consumers = map { my $c = $_; EbSession::in_child(sub { consumer($c, $subscriptions[ $c % 3 ]) }) } 0 .. 5;
my $reader = EbSession::in_child(\&reader);

my $begun = time;
my ($kills, $fast) = (0, 0);
for my $round (1 .. $rounds)
{
	foreach my $fault ('relay', 'emitter', 'consumer', 'all', $round % 2 ? 'fast' : 'immediate')
	{
		let_run(300);
		my $start = time;
		kill_backend($fault, "backend_type = 'eventbus relay'") if $fault eq 'relay';
		kill_backend($fault, "application_name LIKE 'producer%' AND state <> 'idle'") if $fault eq 'emitter';
		kill_backend($fault, "application_name LIKE 'consumer%'") if $fault eq 'consumer';
		kill_all() if $fault eq 'all';
		if ($fault eq 'fast' || $fault eq 'immediate')
		{
			$node->stop($fault);
			$fast = time - $start if $fault eq 'fast' && time - $start > $fast;
			$node->start;
		}
		$kills++;
		note sprintf '%s: up again after %.2f s', $fault, time - $start;
	}
}
let_run(300);
append_to_file($stop, '');
is(EbSession::wait_children(@producers), 0, 'producers went through');

my $healed = time;
my $queue = $node->poll_query_until('postgres',
	'SELECT (SELECT lag = 0 FROM eb_stat_bus) AND NOT EXISTS (SELECT FROM eventbus.delivery)');
my $drain = time - $healed;
append_to_file($drained, '');
is(EbSession::wait_children(@consumers, $reader), 0, 'consumers and reader went through');
ok($queue, 'the queue is drained');

# The ledger of the producers against the log.
my %n = map { $_ => 0 } qw(L P D I T O S F V Q R);
my (%intent, %outcome, %tx, %id, %at, @pairs);
foreach my $w (1 .. 6)
{
	foreach (split /\n/, slurp_file("$folder/producer.$w"))
	{
		if (/^intent (\S+) (\d+)/) { $intent{$1} = $2; $outcome{$1} = 'failed'; }
		elsif (/^(\w+) (\S+)/) { $outcome{$2} = $1; }
	}
}
foreach (split /\n/, $node->safe_psql('postgres',
	q{SELECT "offset", event_id, payload->>'tx', payload->>'i', coalesce(payload->>'after', ''), aggregate_id FROM eventbus.event WHERE type LIKE 'crash.%' ORDER BY 1}))
{
	my ($offset, $id, $tx, $i, $after, $aggregate) = split /\|/, $_, -1;
	$n{D}++ if $id{$id} || $tx{$tx}{$i};
	$n{I}++ if $at{$offset};
	$id{$id} = { offset => $offset, i => $i, aggregate => $aggregate };
	$at{$offset} = $id;
	$tx{$tx}{$i} = $offset;
	push @pairs, [ $offset, $after ] if $after;
}
my %outcomes;
foreach my $t (keys %intent)
{
	my $there = $tx{$t} ? keys %{ $tx{$t} } : 0;
	$outcomes{ $outcome{$t} }++;
	$n{L}++ if $outcome{$t} eq 'ok' && !$there;
	$n{P}++ if $outcome{$t} eq 'failed' && $there;
	$n{T}++ if $there && $there != $intent{$t};
}
$n{P} += grep { !$intent{$_} } keys %tx;
$n{O} += grep { !$id{ $_->[1] } || $id{ $_->[1] }{offset} >= $_->[0] } @pairs;

# What the reader passed.
my (%read, $passed);
foreach (split /\n/, slurp_file("$folder/reader"))
{
	if (/^passed (\d+)/) { $passed = $1; next; }
	my ($offset, $id) = split /\|/;
	$n{I}++ if ($at{$offset} // '') ne $id;
	$read{$offset} = $id;
}
$n{R} += grep { $_ <= $passed && !$read{$_} } keys %at;

# The ledger of the consumers.
my (%delivered, %settled, %tried, $deliveries);
foreach my $c (0 .. 5)
{
	my (%last, $name);
	foreach (split /\n/, slurp_file("$folder/consumer.$c"))
	{
		my @f = split / /;
		if ($f[0] eq 'delivery')
		{
			my %d = (offset => $f[3], begin => $f[6], end => $f[7], kind => $f[8], c => $c);
			push @{ $delivered{ $f[1] }{ $f[2] } }, $last{ $f[2] } = \%d;
			$deliveries++;
		}
		elsif ($f[0] eq 'try') { $tried{ $f[1] }{$_} = $last{$_}{tried} = 1 foreach @f[ 2 .. $#f ]; }
		elsif ($f[0] eq 'nack') { $last{$_}{tried} = 1 foreach @f[ 2 .. $#f ]; }
		elsif ($f[0] eq 'settled')
		{
			foreach (@f[ 3 .. $#f ])
			{
				$n{F}++ if $settled{ $f[1] }{$_};
				$settled{ $f[1] }{$_} = $f[2];
			}
		}
		elsif ($f[0] eq 'stale') { $n{F}++; }
	}
}
foreach my $name (@subscriptions)
{
	my %highest;
	foreach my $id (sort { $id{$a}{offset} <=> $id{$b}{offset} } keys %id)
	{
		next if $name eq 'filtered' && $id{$id}{i} != 1;
		my @d = sort { $a->{end} <=> $b->{end} } @{ $delivered{$name}{$id} // [] };
		$n{S}++ unless @d && $tried{$name}{$id};
		my $settled = $settled{$name}{$id};
		for my $k (1 .. $#d)
		{
			# Once settled, never again; and nobody else before the lease is over.
			$n{F}++ if defined $settled && $d[$k]{begin} > $settled;
			$n{V}++ if $d[ $k - 1 ]{kind} eq 'lease' && !$d[ $k - 1 ]{tried}
			  && $d[$k]{end} < $d[ $k - 1 ]{begin} + $lease;
		}
		next unless $name eq 'ordered' && @d;
		my $a = $id{$id}{aggregate};
		$n{O}++ if defined $highest{$a} && $d[0]{end} < $highest{$a};
		$highest{$a} = $d[0]{end};
	}
	$n{P} += grep { !$id{$_} } keys %{ $delivered{$name} };
	$n{P} += grep { $id{$_} && $id{$_}{i} != 1 } keys %{ $delivered{$name} } if $name eq 'filtered';
}
# Exactly once where the work is in the transaction of the ack.
$n{D} += $node->safe_psql('postgres',
	'SELECT count(*) FROM (SELECT FROM applied GROUP BY subscription, event_id HAVING count(*) > 1) x');
$n{Q} += $node->safe_psql('postgres',
	'SELECT (SELECT count(*) FROM eventbus.delivery) + (SELECT count(*) FROM eventbus.dead_letter)');

note scalar(keys %id) . " events, $kills faults in " . sprintf('%.1f s', $healed - $begun) . ", outcomes "
  . join(' ', map { "$_=$outcomes{$_}" } sort keys %outcomes) . ', ' . scalar(@pairs) . " pairs, $deliveries deliveries";
note 'counters ' . join(' ', map { "$_=$n{$_}" } qw(L P D I T O S F V Q R)) . sprintf(' H=%.1f fast=%.1f', $drain, $fast);
cmp_ok(scalar(keys %id), '>', 200, 'there was traffic');
is($n{$_}, 0, "$_ = 0") foreach qw(L P D I T O S F V Q R);
within($drain, 30, 'H: from heal to drained');
within($fast, 5, 'a fast stop in full flow');
$node->stop('fast');
done_testing();
