# SIGKILL of the relay, of a backend that emits or acks, and of the postmaster, under
# load with fsync on.  Producers keep a ledger of intent and outcome outside the
# database; afterwards nothing is lost, phantom, torn or twice, every subscription
# has settled every event once, in order where that counts, no stale receipt was
# accepted, no event was in two live leases, and no reader saw what is not there.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{EB_SEED} // time ^ $$;
my $rounds = $ENV{EB_CRASH_ROUNDS} // 1;
srand($seed);
note "seed $seed (EB_SEED)";

my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', "fsync = on\nlog_statement = none\nrestart_after_crash = on\neventbus.segment_events = 2000\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION eventbus;
	CREATE TABLE applied (seq bigserial PRIMARY KEY, subscription text, event_id uuid, "offset" bigint, aggregate_id text);
	SELECT eb_subscribe('exact'), eb_subscribe('least', max_attempts => 1000000), eb_subscribe('ordered', ordering => 'aggregate', batch_size => 5),
		eb_subscribe('odd', filter => '$.n % 2 == 1');

	-- The offsets of a delivery: all in its range, or those listed as distances in base 128.
	CREATE FUNCTION offsets(first bigint, last bigint, list bytea) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
	DECLARE
		delta bigint := 0;
		shift int := 0;
		b int;
	BEGIN
		IF list IS NULL THEN
			RETURN QUERY SELECT e."offset" FROM eventbus.event e WHERE e."offset" BETWEEN first AND last;
			RETURN;
		END IF;
		FOR i IN 0 .. length(list) - 1 LOOP
			b := get_byte(list, i);
			delta := delta | ((b & 127)::bigint << shift);
			shift := shift + 7;
			IF b < 128 THEN
				first := first + delta;
				RETURN NEXT first;
				delta := 0;
				shift := 0;
			END IF;
		END LOOP;
	END $$;
	CREATE VIEW queued AS SELECT s.name, o AS "offset", d.lease_until FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id,
		offsets(d.first_offset, d.last_offset, d.offsets) o;
});

my $stop = "$PostgreSQL::Test::Utils::tmp_check/stop";
my @children;

# Runs a piece of work in a process of its own, again and again until told to stop;
# the work gets a session, which it may find broken.
sub child
{
	my ($work) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid)
	{
		push @children, $pid;
		return;
	}
	srand($seed + @children);
	my $s = Session->new($node);
	until (-e $stop)
	{
		next if defined $work->($s);
		$s->close;
		select(undef, undef, undef, 0.02);
		$s->connect;
	}
	$s->close;
	require POSIX;
	POSIX::_exit(0);
}

# The third producer commits asynchronously: what it was told is no promise.
my @ledgers = map { "$PostgreSQL::Test::Utils::tmp_check/ledger$_" } 0 .. 2;
for my $p (0 .. 2)
{
	my $n = 0;
	open(my $ledger, '>', $ledgers[$p]) or die;
	$ledger->autoflush(1);
	child(sub {
		my ($s) = @_;
		$n++;
		my $events = join ',', map { qq({"type": "led.a", "aggregate_id": "p$p", "payload": {"p": $p, "n": $n, "k": $_}}) } 1 .. 3;
		my $fail = $n % 7 == 0 ? ', 1 / (1 - count(*))' : '';
		print $ledger "i $n\n";
		my $r = $s->query(($p == 2 ? "SET synchronous_commit = off;\n" : '') . "SELECT count(*) $fail FROM (SELECT eb_emit('[$events]')) e");
		# A row is printed once the server has said that the command is complete.
		my $outcome = ($r // '') =~ /^1$/m ? 'o' : ($r // '') =~ /ERROR/ ? 'f' : 'u';
		print $ledger "$outcome $n ", ($r // 'nothing') =~ s/\n/ /gr, "\n";
		return $r;
	});
}

# Exactly once: applied and acked in one transaction.
for my $subscription (qw(exact ordered ordered odd))
{
	child(sub {
		$_[0]->query(qq{
			WITH f AS MATERIALIZED (SELECT * FROM eb_fetch('$subscription', 50, wait => '100 ms')),
				a AS (INSERT INTO applied (subscription, event_id, "offset", aggregate_id) SELECT '$subscription', event_id, "offset", aggregate_id FROM f ORDER BY "offset")
			SELECT sum(eb_ack(receipt)) FROM (SELECT DISTINCT receipt FROM f) r});
	});
}

# At least once: leases that often run out before the ack, and receipts used again.
# What an accepted receipt settles is recorded with it: twice is a stale one accepted.
for my $i (1 .. 2)
{
	my @old;
	child(sub {
		my ($s) = @_;
		my $fetched = $s->query(q{SELECT receipt, string_agg(event_id::text, ',') FROM eb_fetch('least', 20, lease => '50 ms', wait => '50 ms') GROUP BY 1});
		return undef unless defined $fetched;
		push @old, grep { /^\d+\|/ } split /\n/, $fetched;
		@old = sort { rand() <=> 0.5 } @old if rand() < 0.3;
		my $r = '';
		while (@old > (rand() < 0.3 ? 2 : 0) && defined $r)
		{
			my $receipt = shift @old;
			my ($number, $ids) = split /\|/, $receipt;
			$r = $s->query(qq{INSERT INTO applied (subscription, event_id) SELECT 'least', id FROM unnest('{$ids}'::uuid[]) id WHERE eb_ack($number, '{$ids}') > 0;});
			push @old, $receipt if defined $r && rand() < 0.2;    # a stale one, later
			last if rand() < 0.2;
		}
		return $r;
	});
}

# A reader that follows the safe offset and remembers outside the database.
my $memory = "$PostgreSQL::Test::Utils::tmp_check/reader";
{
	my $position = 0;
	open(my $out, '>', $memory) or die;
	$out->autoflush(1);
	child(sub {
		my $r = $_[0]->query(sprintf(q{SELECT 's', eb_last_offset() AS safe; SELECT 'e', "offset", event_id FROM eb_read(%d, 100000)}, $position + 1));
		return $r if !defined $r || $r =~ /ERROR|FATAL/;
		my ($safe) = $r =~ /^s\|(\d+)/m;
		my @rows = map { [ split /\|/ ] } grep { /^e/ } split /\n/, $r;
		print $out "$_->[1] $_->[2]\n" for grep { $_->[1] <= $safe } @rows;
		$position = $safe if $safe > $position;
		return $r;
	});
}

# Whether a query answers "t", though the server may be down.
sub answers
{
	my ($sql) = @_;
	my $start = time;
	while (time - $start < 40)
	{
		my ($rc, $out) = $node->psql('postgres', $sql);
		return 1 if $rc == 0 && ($out // '') eq 't';
	}
	return 0;
}

sub progress
{
	my ($what) = @_;
	my ($rc, $n);
	do { ($rc, $n) = $node->psql('postgres', q{SELECT max("offset") FROM eventbus.event}) } while $rc != 0 || $n eq '';
	ok(answers(qq{SELECT min(m) > $n FROM (SELECT max("offset") AS m FROM applied WHERE subscription <> 'least' GROUP BY subscription) x}), "goes on $what");
	is(scalar($node->psql('postgres', q{SELECT FROM queued WHERE lease_until > clock_timestamp() GROUP BY name, "offset" HAVING count(*) > 1})), 0, 'asked for live leases');
}

# Kills the postmaster, and starts the server once its processes have noticed.
sub restart_killed
{
	my $pid = $node->{_pid};
	my $start = time;
	$node->kill9;
	while (time - $start < 60)
	{
		next if kill 0, $pid;
		next if system('pg_ctl', '-s', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '--cluster-name=' . $node->name, 'start') != 0;
		$node->_update_pid(1);
		return 1;
	}
	return 0;
}

sub pid_of
{
	my ($where) = @_;
	my ($rc, $pid) = $node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $where LIMIT 1");
	return $rc == 0 && $pid =~ /^\d+$/ ? $pid : undef;
}

progress('before anything happens');
for my $round (1 .. $rounds)
{
	for my $victim ("backend_type = 'eventbus relay'", "query LIKE '%eb_emit%' AND pid <> pg_backend_pid()", "query LIKE '%eb_ack%' AND pid <> pg_backend_pid()")
	{
		my $pid = pid_of($victim) or next;
		kill 'KILL', $pid;
		progress("after a SIGKILL of one with $victim");
	}
	ok(restart_killed(), 'the server starts after a SIGKILL of its postmaster');
	progress('after that');
	$node->stop('immediate');
	$node->start;
	progress('after an immediate stop');
}

# Producers stop; consumers drain.
append_to_file($stop, 'x');
waitpid $_, 0 for @children;
my $healed = time;
my $s = Session->new($node);
for my $subscription (qw(exact ordered odd least))
{
	my $n;
	do
	{
		$n = $s->query(qq{
			WITH f AS MATERIALIZED (SELECT * FROM eb_fetch('$subscription', 10000, wait => '2 s')),
				a AS (INSERT INTO applied (subscription, event_id, "offset", aggregate_id) SELECT '$subscription', event_id, "offset", aggregate_id FROM f ORDER BY "offset")
			SELECT COALESCE(sum(eb_ack(receipt)), 0) FROM (SELECT DISTINCT receipt FROM f) r});
	} while ($n =~ /^\d+$/ && $n > 0 || $s->query(q{SELECT count(*) FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id WHERE name = } . "'$subscription'") > 0);
}
cmp_ok(time - $healed, '<', 30, sprintf('drained in %.1f s', time - $healed));

# The ledger against the log.
my %log;
for (split /\n/, $s->query(q{SELECT payload->>'p', payload->>'n', payload->>'k', "offset", event_id FROM eventbus.event}))
{
	my ($p, $n, $k, $offset, $id) = split /\|/;
	push @{ $log{$p}{$n} }, [ $k, $offset, $id ];
}
my %count = map { $_ => 0 } qw(ok lost phantom torn twice unknown);
for my $p (0 .. 2)
{
	my %outcome;
	for (split /\n/, slurp_file($ledgers[$p]))
	{
		my ($what, $n, @said) = split / /;
		$outcome{$n} = $what;
		note "producer $p, transaction $n: @said" if $what =~ /[of]/ && $p != 2 && ($what eq 'f') == exists $log{$p}{$n};
	}
	$count{unknown} += grep { $_ eq 'u' || $_ eq 'i' } values %outcome;
	for my $n (keys %outcome)
	{
		my $events = $log{$p}{$n} // [];
		$count{ok}++ if $outcome{$n} eq 'o';
		$count{lost}++ if $outcome{$n} eq 'o' && !@$events && $p != 2;
		$count{phantom}++ if $outcome{$n} eq 'f' && @$events;
		$count{torn}++ if @$events && join(',', sort map { $_->[0] } @$events) ne '1,2,3';
	}
	$count{phantom} += grep { !exists $outcome{$_} } keys %{ $log{$p} };
}
cmp_ok($count{ok}, '>', 100, "$count{ok} transactions acknowledged, $count{unknown} of unknown outcome");
is($count{$_}, 0, $_) for qw(lost phantom torn);

sub none
{
	my ($sql, $name) = @_;
	is($s->query("SELECT count(*) FROM ($sql) x"), '0', $name);
}
none('SELECT event_id FROM eventbus.event GROUP BY 1 HAVING count(*) > 1', 'event ids twice in the log');
for my $subscription (qw(exact ordered least odd))
{
	my $its = $subscription eq 'odd' ? q{(payload->>'n')::int % 2 = 1} : 'true';
	none("SELECT event_id FROM eventbus.event WHERE $its EXCEPT SELECT event_id FROM applied WHERE subscription = '$subscription'", "missing in $subscription");
	none("SELECT event_id FROM applied WHERE subscription = '$subscription' EXCEPT SELECT event_id FROM eventbus.event WHERE $its", "too many in $subscription");
	none("SELECT event_id FROM applied WHERE subscription = '$subscription' GROUP BY 1 HAVING count(*) > 1", "settled twice in $subscription");
}
none(q{SELECT FROM (SELECT "offset", lag("offset") OVER (PARTITION BY aggregate_id ORDER BY seq) AS before FROM applied WHERE subscription = 'ordered') a WHERE before > "offset"},
	'out of order in ordered');
none('SELECT FROM eventbus.delivery', 'left in the queue');
none('SELECT FROM eventbus.dead_letter', 'dead letters');

# What the reader saw is there, and it missed nothing up to where it was.
my %seen;
my $twice = 0;
for (split /\n/, slurp_file($memory))
{
	my ($offset, $id) = split / /;
	$twice++ if exists $seen{$offset};
	$seen{$offset} = $id;
}
my %there = map { $_->[1] => $_->[2] } map { @$_ } map { values %$_ } values %log;
my ($last) = sort { $b <=> $a } keys %seen;
is($twice, 0, 'offsets that the reader saw twice');
is(scalar(grep { ($there{$_} // '') ne $seen{$_} } keys %seen), 0, 'events that the reader saw and that are not there');
is(scalar(grep { $_ <= $last && !exists $seen{$_} } keys %there), 0, 'events that it has passed and not seen');
$s->close;
$node->stop;
done_testing();
