# 24: 10,000 poison events at the head (1,000 in the short form); every function with bad arguments; fuzzing.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(24, 'poison events and bad arguments');
my $poison = $s->{seconds} >= 20 ? 10_000 : 1_000;
my $attempts = 3;
my $node = $s->node(conf => "eventbus.segment_events = 100000\n");
$node->safe_psql('postgres', qq{CREATE EXTENSION eventbus;
	SELECT eb_subscribe('all', '{>}', max_attempts => $attempts, backoff => '10 ms', backoff_max => '10 ms', lease => '5 min');
	SELECT count(eb_emit('poison.one', '{}')) FROM generate_series(1, $poison)});
my $connstr = $node->connstr('postgres');

# Consumers that fail with every poison event; the good ones are written down.
my $folder = PostgreSQL::Test::Utils::tempdir();
my @consumers = map { my $c = $_; EbSession::in_child(sub {
	my $session = EbSession->new($connstr, "consumer $c");
	open my $out, '>', "$folder/good.$c" or die $!;
	until (-e "$folder/over")
	{
		my (%good, %bad);
		foreach (split /\n/, $session->must(q{SELECT receipt, event_id, type FROM eb_fetch('all', 100, wait => '100 ms')}))
		{
			my ($receipt, $id, $type) = split /\|/;
			push @{ ($type =~ /^poison/ ? \%bad : \%good)->{$receipt} }, $id;
			print $out "$id ", time, "\n" if $type !~ /^poison/;
		}
		my $list = sub { my ($of) = @_; return join ', ', map { "($_, '{" . join(',', @{ $of->{$_} }) . "}'::uuid[])" } keys %$of };
		$session->must('SELECT eb_nack(r, ids, \'poison\') FROM (VALUES ' . $list->(\%bad) . ') v (r, ids)') if %bad;
		$session->must('SELECT eb_ack(r, ids) FROM (VALUES ' . $list->(\%good) . ') v (r, ids)') if %good;
	}
	close $out;
	$session->close;
}) } 1 .. $s->{consumers};
my $emitter = EbSession->new($connstr, 'emitter');
my %emitted;
my $n = $s->{seconds} >= 20 ? 200 : 50;
foreach (1 .. $n)
{
	my $id = $emitter->must("SELECT eb_emit('healthy.one', '{}')");
	$emitted{$id} = time;
	select undef, undef, undef, 0.02;
}
my $drained = eval { $s->wait_for($node, 'SELECT queued = 0 AND lag = 0 FROM eb_stat_bus'); 1 };
append_to_file("$folder/over", '');
$s->part(!EbSession::wait_children(@consumers), 'the consumers went through');
my ($slowest, %got) = (0);
foreach my $c (1 .. $s->{consumers})
{
	foreach (split /\n/, slurp_file("$folder/good.$c"))
	{
		my ($id, $at) = split / /;
		$s->count('F', 1, "$id was delivered twice") if $got{$id}++;
		$slowest = $at - $emitted{$id} if $at - $emitted{$id} > $slowest;
	}
}
$s->count('S', scalar(grep { !$got{$_} } keys %emitted), 'healthy events were not delivered');
$s->bound("the slowest of $n healthy events among $poison poison ones came after", $slowest, 1);
my ($dead, $exact) = split /\|/, $node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE attempts = $attempts AND jsonb_array_length(history) = $attempts) FROM eventbus.dead_letter");
$s->count('Q', abs($poison - $dead) + ($drained ? 0 : 1), "$dead of $poison are dead");
$s->part($exact == $poison, "$exact died after exactly $attempts attempts");
$s->{events} = $poison + $n;
$s->{faults} = $poison;

# Every function of ours with whatever its arguments' types allow: no internal error, no crash.
$emitter->must(q{SELECT eb_dlq_purge(subscription => 'all')});
my %values = (
	text => [ 'NULL', "''", "'a'", "'order.placed'", "'>'", "'*.*'", "'all'", "repeat('x', 65536)", "repeat('a.', 30000) || 'b'", "E'\\\\u0001'", "'none'", "'aggregate'", "'DROP TABLE x; --'", "'%s%n'" ],
	'text[]' => [ 'NULL', "'{}'", "'{>}'", "'{NULL}'", "'{a.*,!a.b}'", "ARRAY[repeat('x', 65536)]", "array_fill('a.*'::text, ARRAY[1000])", "'{{a,b},{c,d}}'" ],
	jsonb => [ 'NULL', "'null'", "'{}'", "'[]'", "'1e1000'", "'\"x\"'", "to_jsonb(repeat('x', 65536))", "(repeat('[', 1000) || repeat(']', 1000))::jsonb", "'{\"type\": \"a.b\", \"payload\": {}}'", "'[{\"type\": null}]'", "'{\"specversion\": \"1.0\", \"type\": \"a.b\", \"id\": 7}'", "'{\"\$ref\": \"#\"}'", "'{\"pattern\": \"(((((a*)*)*)*)*)\$\"}'" ],
	jsonpath => [ 'NULL', "'\$'", "'\$.a == 1'", "'\$nope'", "'strict \$.a.b.c[*] ? (\@ > 1)'" ],
	bigint => [ 'NULL', '0', '-1', '1', '9223372036854775807', '-9223372036854775808', '65536' ],
	integer => [ 'NULL', '0', '-1', '1', '2147483647', '-2147483648' ],
	'bigint[]' => [ 'NULL', "'{}'", "'{NULL}'", "'{1,-1}'" ],
	smallint => [ 'NULL', '0', '-1', '32767' ],
	boolean => [ 'NULL', 'true', 'false' ],
	uuid => [ 'NULL', "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'01900000-0000-7000-8000-000000000000'", 'gen_random_uuid()' ],
	'uuid[]' => [ 'NULL', "'{}'", "'{NULL}'", "ARRAY[gen_random_uuid()]" ],
	interval => [ 'NULL', "'0'", "'-1 s'", "'1 ms'", "'178000000 years'", "'-178000000 years'", "'1 mon -40 days'" ],
	'timestamp with time zone' => [ 'NULL', "'infinity'", "'-infinity'", 'now()', "'4713-01-01 BC'", "'294276-12-31'" ],
	name => [ 'NULL', "'postgres'", "'nobody'", "repeat('x', 65536)" ],
	regprocedure => [ 'NULL', "'now()'", "0" ], oid => [ 'NULL', '0', '1' ], regclass => [ 'NULL', '0' ],
	'double precision' => [ 'NULL', "'NaN'", "'infinity'", '-1' ]);
my @functions = split /\n/, $node->safe_psql('postgres', q{
	SELECT p.oid::regproc || '|' || array_to_string(array(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY a(t, i) ORDER BY i), ',')
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventbus'
	WHERE p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype AND p.prorettype <> 'event_trigger'::regtype ORDER BY 1});
my ($calls, %states, $crashed) = (0);
foreach my $f (@functions)
{
	my ($name, $types) = split /\|/, $f, 2;
	my @types = split /,/, $types;
	next if grep { !$values{$_} } @types and !grep { /eb_|eventbus|regrole|char|internal/ } @types;
	foreach (1 .. (@types ? ($s->{seconds} >= 20 ? 100 : 15) : 1))
	{
		my @args = map { my $pool = $values{$_} // ['NULL']; "$pool->[rand @$pool]::$_" } @types;
		my $sql = "SELECT count(x) FROM (SELECT $name(" . join(', ', @args) . ') x) y';
		my $ok = $emitter->query("BEGIN; SET LOCAL statement_timeout = '20s'; SET LOCAL eventbus.max_wait = 50; $sql", 60);
		$calls++;
		if ($emitter->{lost}) { $crashed = $sql; last; }
		$states{ $emitter->{state} }++;
		$s->part(0, "$emitter->{state} $emitter->{error}: " . substr($sql, 0, 300)) if !defined $ok && $emitter->{state} =~ /^(XX|58|53200)/;
		$emitter->query('ROLLBACK');
	}
	last if $crashed;
}
$s->part(!$crashed, $crashed ? 'a session died of ' . substr($crashed, 0, 300) : "$calls calls of " . @functions . ' functions');
$s->fact('SQLSTATEs: ' . join(', ', map { "$_ $states{$_}" } sort keys %states));
$emitter->close;
$s->part($s->ask($node, 'SELECT 1') == 1, 'the server is up');
$s->part(slurp_file($node->logfile) !~ /was terminated by signal|PANIC|TRAP:/, 'and nothing crashed');

if ($s->{seconds} >= 20)
{
	my $out = `cd $ENV{EB_TREE}/test/fuzz && SECONDS_TO_RUN=30 bash parsers.sh 2>&1`;
	if ($? >> 8 == 77) { $s->skip_part('fuzzing of the parsers under sanitizers', $out =~ s/\s+$//r); }
	else { $s->part($? == 0, 'test/fuzz/parsers.sh: ' . ($out =~ s/\s+$//r)); }
}
else { $s->skip_part('fuzzing of the parsers under sanitizers', 'not in the short form'); }
sqlsmith();
$node->stop('fast');
$s->done;

# Queries at random, of a role that may emit and consume: nothing crashes, and no
# internal error comes from a file of ours.
sub sqlsmith
{
	my ($program) = grep { -x } map { "$_/sqlsmith" } split /:/, $ENV{PATH};
	if (!$program)
	{
		$s->skip_part('sqlsmith', 'it is not installed (Debian: sqlsmith)');
		return;
	}
	my $queries = $s->{seconds} >= 20 ? 5_000 : 1_000;
	$node->safe_psql('postgres', q{CREATE ROLE smith LOGIN; GRANT CREATE ON SCHEMA public TO smith; GRANT pg_monitor, pg_read_all_data TO smith;
		SELECT eb_grant('emit', '>', 'smith'), eb_grant('consume', 'all', 'smith');
		ALTER ROLE smith SET statement_timeout = '2s'; ALTER ROLE smith SET log_error_verbosity = verbose});
	my $from = -s $node->logfile;
	my $target = $node->connstr('postgres') . ' user=smith';
	system("$program --exclude-catalog --target=\"$target\" --max-queries=$queries --seed=$s->{seed} >sqlsmith.out 2>&1");
	my $log = slurp_file($node->logfile, $from);
	my $ours = join '|', map { m{/(\w+)\.c$} } glob "$ENV{EB_TREE}/src/*.c";
	my @internal = $log =~ /ERROR:  (XX\d\d\d: (?:(?!ERROR:  ).)*?LOCATION:  \w+, (?:$ours)\.c:\d+)/gs;
	my $ours_named = () = $log =~ /\beb_[a-z_]+/g;
	$s->part($s->ask($node, 'SELECT 1') == 1 && $log !~ /was terminated by signal|PANIC|TRAP:/, "sqlsmith, $queries queries: no crash");
	$s->part(!@internal, 'and no internal error' . (@internal ? ": $internal[0]" : ''));
	$s->part($ours_named > 100, "in those that failed, $ours_named times a function or view of ours");
}
