# Writers of every kind against readers that poll: nothing is late, lost,
# duplicated, torn or out of order, and nothing of a rollback is in the log.
# Segments are small, so transactions cross from one to the next all the time.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use EbSession;

my $seconds = $ENV{EB_STRESS_SECONDS} || 9;
my $seed = $ENV{EB_SEED} || time ^ $$;
note "EB_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('stress');
$node->init;
$node->append_conf('postgresql.conf', "eventbus.segment_events = 500\nsynchronous_commit = off\nlog_statement = none\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION eventbus;
	CREATE TABLE marker (n bigserial PRIMARY KEY, event_id uuid);
	SELECT eb_subscribe('everything')});
my $connstr = $node->connstr('postgres');
my $folder = PostgreSQL::Test::Utils::tempdir();

my @isolation = (('READ COMMITTED') x 4, ('REPEATABLE READ') x 2, ('SERIALIZABLE') x 2);

# An emit of $n events of this transaction from number $from on; "after" is an
# event whose commit this transaction has seen.
sub emit
{
	my ($w, $t, $from, $n, $returning) = @_;
	my $payload = "jsonb_build_object('k', '$w:$t:' || i, 'after', (SELECT event_id FROM marker ORDER BY n DESC LIMIT 1))";
	my $series = "generate_series($from, " . ($from + $n - 1) . ') i';
	return "WITH e AS MATERIALIZED (SELECT eb_emit('stress.w$w', $payload, '$w') AS id FROM $series) "
	  . "INSERT INTO marker (event_id) SELECT id FROM e ORDER BY id DESC LIMIT 1";
}

# One transaction: its statements before the end, its end, and which of its events count.
sub transaction
{
	my ($w, $t) = @_;
	my $r = rand;
	return ([ emit($w, $t, 1, 1) ], 'COMMIT', [1]) if $r < 0.45;
	if ($r < 0.65)
	{
		my $n = $r < 0.47 ? 700 : 2 + int rand 60;
		return ([ emit($w, $t, 1, $n) ], 'COMMIT', [ 1 .. $n ]);
	}
	return ([ emit($w, $t, 1, 1 + int rand 20) ], 'ROLLBACK', []) if $r < 0.75;
	return ([ emit($w, $t, 1, 2), 'SAVEPOINT a', emit($w, $t, 3, 30), 'SAVEPOINT b', emit($w, $t, 40, 2),
		'ROLLBACK TO a', emit($w, $t, 50, 3), 'RELEASE a' ], 'COMMIT', [ 1, 2, 50 .. 52 ]) if $r < 0.9;
	return ([ "DO \$\$ BEGIN " . emit($w, $t, 1, 2) . "; BEGIN " . emit($w, $t, 5, 9)
		. "; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN " . emit($w, $t, 20, 1) . "; END; END \$\$" ],
		'COMMIT', [ 1, 2, 20 ]);
}

sub writer
{
	my ($w, $until) = @_;
	srand $seed + $w;
	open my $ledger, '>', "$folder/writer.$w" or die $!;
	my $s = EbSession->new($connstr, "writer $w");
	my $slowest = 0;
	for (my $t = 1; time < $until; $t++)
	{
		my ($body, $end, $events) = transaction($w, $t);
		# A failed transaction's COMMIT is no error, so its last statement is asked, too.
		my $ok = defined $s->query("BEGIN ISOLATION LEVEL $isolation[$w];\n" . join(";\n", @$body));
		my $start = time;
		$ok = defined $s->query($end) && $ok && $end eq 'COMMIT';
		$slowest = time - $start if time - $start > $slowest;
		die "writer $w: $s->{state} $s->{error}" unless $ok || $end eq 'ROLLBACK' || $s->{state} =~ /^(00000|40001|25P02)$/;
		print $ledger "$w:$t $_\n" foreach $ok ? @$events : ();
		print $ledger "aborted\n" unless $ok;
	}
	print $ledger "slowest $slowest\n";
	close $ledger or die $!;
	$s->close;
}

# Passes everything up to the offset it was told, then asks again.
sub reader
{
	my ($r, $stop) = @_;
	open my $seen, '>', "$folder/reader.$r" or die $!;
	my $s = EbSession->new($connstr, "reader $r");
	my ($position, $polls, $last, $finish) = (0, 0, 0, 0);
	until ($finish && $position >= $last)
	{
		$finish = -e $stop;
		$last = $s->must('SELECT eb_last_offset()');
		my $rows = $s->must(qq{SELECT "offset", event_id FROM eb_read($position + 1, 5000)});
		my @rows = split /\n/, $rows;
		foreach (@rows)
		{
			my ($offset) = split /\|/;
			print $seen "inversion\n" if $offset <= $position;
			$position = $offset;
			print $seen "$_\n";
		}
		$position = $last if $last > $position && @rows < 5000;
		$polls++;
		select undef, undef, undef, 0.001 unless @rows;    # leaves the writers some processor
	}
	print $seen "end $position $polls\n";
	close $seen or die $!;
	$s->close;
}

my $until = time + $seconds;
my @writers = map { my $w = $_; EbSession::in_child(sub { writer($w, $until) }) } 0 .. $#isolation;
my @readers = map { my $r = $_; EbSession::in_child(sub { reader($r, "$folder/stop") }) } 0 .. 3;
is(EbSession::wait_children(@writers), 0, 'writers went through');
append_to_file("$folder/stop", '');
is(EbSession::wait_children(@readers), 0, 'readers went through');

# What must be there.
my (%expected, %count, %offset_of, %id_at);
$count{$_} = 0 foreach qw(late lost duplicated phantom torn inversion);
my ($aborted, $crossed, $slowest) = (0, 0, 0);
for my $w (0 .. $#isolation)
{
	foreach (split /\n/, slurp_file("$folder/writer.$w"))
	{
		if ($_ eq 'aborted') { $aborted++; next; }
		my ($tx, $i) = split / /;
		if ($tx eq 'slowest') { $slowest = $i if $i > $slowest; next; }
		$expected{"$tx:$i"} = $tx;
	}
}

# What is there.
my (%seen_key, %tx_events, @after);
foreach (split /\n/, $node->safe_psql('postgres',
	q{SELECT "offset", event_id, payload->>'k', coalesce(payload->>'after', '') FROM eventbus.event ORDER BY "offset"}))
{
	my ($offset, $id, $key, $after) = split /\|/, $_, -1;
	$count{duplicated}++ if $seen_key{$key}++ or defined $offset_of{$id};
	$count{phantom}++ unless $expected{$key};
	$offset_of{$id} = $offset;
	$id_at{$offset} = $id;
	(my $tx = $key) =~ s/:\d+$//;
	push @{ $tx_events{$tx} }, $offset;
	push @after, [ $offset, $after ] if $after ne '';
}
my %torn;
foreach (keys %expected)
{
	next if $seen_key{$_};
	$count{lost}++;
	$torn{ $expected{$_} } = 1 if $tx_events{ $expected{$_} };
}
$count{torn} = keys %torn;
$count{inversion} += grep { !defined $offset_of{ $_->[1] } || $offset_of{ $_->[1] } >= $_->[0] } @after;
foreach my $tx (values %tx_events)
{
	$crossed++ if int(($tx->[0] - 1) / 500) != int(($tx->[-1] - 1) / 500);
}

# What the readers saw.
my $polls = 0;
for my $r (0 .. 3)
{
	my (%seen, $position);
	foreach (split /\n/, slurp_file("$folder/reader.$r"))
	{
		if ($_ eq 'inversion') { $count{inversion}++; next; }
		if (/^end (\d+) (\d+)/) { $position = $1; $polls += $2; next; }
		my ($offset, $id) = split /\|/;
		$count{duplicated}++ if $seen{$offset}++;
		$count{phantom}++ unless ($id_at{$offset} // '') eq $id;
	}
	my @late = sort { $a <=> $b } grep { $_ <= $position && !$seen{$_} } keys %id_at;
	$count{late} += @late;
	diag "reader $r missed " . @late . " events, offsets $late[0] to $late[-1]" if @late;
}

my $events = keys %id_at;
my $segments = $node->safe_psql('postgres', "SELECT count(*) FROM pg_inherits WHERE inhparent = 'eventbus.event'::regclass");
note "$events events in $segments segments, $aborted transactions rolled back or refused, $crossed across segments, "
  . scalar(@after) . " pairs, $polls polls, slowest COMMIT " . sprintf('%.3f s', $slowest);
cmp_ok($events, '>', 500, 'there was traffic');
cmp_ok($crossed, '>', 0, 'transactions crossed segments');
is($count{$_}, 0, "$_ = 0") foreach sort keys %count;

# The subscription got all of them, each once.
my $s = EbSession->new($connstr, 'consumer');
my %delivered;
my $deadline = time + 30;
while (keys %delivered < $events && time < $deadline)
{
	my $rows = $s->must(q{WITH f AS MATERIALIZED (SELECT receipt, event_id FROM eb_fetch('everything', 5000, wait => '100 ms')),
		a AS MATERIALIZED (SELECT eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM f) r)
		SELECT event_id FROM f, (SELECT count(*) FROM a) n});
	$delivered{$_}++ foreach split /\n/, $rows;
}
is(scalar(grep { $_ > 1 } values %delivered), 0, 'nothing was delivered twice');
is(scalar(grep { !$delivered{$_} } keys %offset_of), 0, 'nothing was not delivered');
$s->close;
$node->stop('fast');
done_testing();
