# 22: 1,000,000 events in one transaction (100,000 in the short form); a payload at the jsonb limit.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(22, 'huge transactions and payloads');
$s->tap('120_million', EB_MILLION => $s->{seconds} >= 20 ? 1_000_000 : 100_000);

my $node = $s->node;
$node->safe_psql('postgres', q{CREATE EXTENSION eventbus; SELECT eb_subscribe('big', '{big.*}');
	SELECT eb_subscribe('picky', '{big.*}', filter => '$.k == 1'); SELECT eb_subscribe('small', '{small.*}')});
my $session = EbSession->new($node->connstr('postgres'), 'big');
my $relay = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventbus relay'";
$s->wait_for($node, "SELECT EXISTS ($relay)");
my $pid = $s->ask($node, $relay);

sub relay_kb { return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : undef }

if (!-r "/proc/$pid/status") { $s->skip_part("the relay's memory", 'no /proc'); }
$session->must("SELECT eb_emit('big.warm', '{}')");
$session->must("SELECT eb_ack(r) FROM (SELECT DISTINCT receipt r FROM eb_fetch('big', wait => '30 s')) x");
my $base = -r "/proc/$pid/status" ? relay_kb() : 0;

# The longest string that jsonb takes is 268,435,455 bytes; its total is the same.
my $most = 268435455 - 32;
my $id = $session->must("SELECT eb_emit('big.payload', jsonb_build_object('s', repeat('x', $most), 'k', 1))", 120);
$session->must("SELECT eb_emit('small.after', '{}')");
my $start = time;
my $small = $session->must("SELECT count(*) FROM eb_fetch('small', wait => '60 s')", 120);
$s->bound('an event behind it is delivered after', time - $start, 5);
$s->count('S', $small == 1 ? 0 : 1, 'the event behind it was not delivered');
foreach my $name (qw(big picky))
{
	my ($length, $receipt) = split /\|/, $session->must("SELECT length(payload->>'s'), receipt FROM eb_fetch('$name', wait => '60 s') WHERE type = 'big.payload'", 120);
	$s->count('S', ($length // 0) == $most ? 0 : 1, "$name got " . ($length // 'nothing') . " of $most");
	$s->part(defined $receipt && defined $session->query("SELECT eb_ack($receipt)"), "$name has the payload, and acknowledges it");
}
$s->{events} = 3;
my $beyond = $session->query("SELECT eb_emit('big.beyond', jsonb_build_object('s', repeat('x', 268435456)))", 120);
$s->part(!!(!defined $beyond && !$session->{lost} && $session->{state} =~ /^(54|53|22)/), "beyond the limit: $session->{state} $session->{error}");
$s->count('P', $session->must("SELECT count(*) FROM eb_read(1, 1000, '{big.beyond}')"), 'the refused event is there');
$s->part($s->ask($node, $relay) == $pid, 'by the same relay');
if ($base)
{
	$s->wait_for($node, 'SELECT lag = 0 FROM eb_stat_bus');
	$session->must("SELECT count(eb_emit('small.after', '{}')) FROM generate_series(1, 10)");
	$session->must("SELECT count(*) FROM eb_fetch('small', wait => '30 s')");
	my $kb = relay_kb() - $base;
	$s->part($kb <= 64 * 1024, "afterwards the relay has $kb kB more than before");
}
$session->close;
$node->stop('fast');
$s->done;
