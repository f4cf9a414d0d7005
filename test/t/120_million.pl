# A million events in one transaction: bounded memory in the emitter and the relay,
# nobody else waits, nothing is lost.
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

my $events = $ENV{EB_MILLION} || 1_000_000;
my $limit = 64 * 1024;    # kB above what the process had before

plan skip_all => 'needs /proc' unless -r "/proc/$$/status";

my $node = PostgreSQL::Test::Cluster->new('million');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\nmax_wal_size = 4GB\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION eventbus');
$node->safe_psql('postgres', q{SELECT eb_subscribe('big', '{big.*}', batch_size => 1000); SELECT eb_subscribe('small', '{small.*}')});
my $connstr = $node->connstr('postgres');
my $relay = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventbus relay'";
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($relay) r") or die 'no relay';
my $relay_pid = $node->safe_psql('postgres', $relay);

# A process' own memory, in kB.
sub memory
{
	my ($pid) = @_;
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
	return $kb;
}

my $emitter = EbSession->new($connstr, 'emitter');
my $other = EbSession->new($connstr, 'other');
my $consumer = EbSession->new($connstr, 'consumer');
my $emitter_pid = $emitter->backend;
# Everything is warm before the bases are taken.
$emitter->must("SELECT eb_emit('big.warm', '{}')");
$other->must("SELECT eb_emit('small.warm', '{}')");
$consumer->must("SELECT eb_ack(r) FROM (SELECT DISTINCT receipt r FROM eb_fetch('small', wait => '10 s')) x");
$consumer->must("SELECT eb_ack(r) FROM (SELECT DISTINCT receipt r FROM eb_fetch('big', wait => '10 s')) x");
my ($emitter_base, $relay_base) = (memory($emitter_pid), memory($relay_pid));
my ($emitter_top, $relay_top) = (0, 0);

sub watch
{
	my $kb = memory($emitter_pid) - $emitter_base;
	$emitter_top = $kb if $kb > $emitter_top;
	$kb = memory($relay_pid) - $relay_base;
	$relay_top = $kb if $kb > $relay_top;
}

# Emits one small event and waits for its delivery; returns the seconds, measured
# from its commit or the end of the flush, whatever came later.
my $ended;

sub round_trip
{
	$other->must("SELECT eb_emit('small.one', '{}')");
	my $committed = time;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $rows = '';
	until ($rows ne '' || time > $deadline)
	{
		$rows = $consumer->must("SELECT eb_ack(r) FROM (SELECT DISTINCT receipt r FROM eb_fetch('small', wait => '50 ms')) x");
		watch();
		finished() unless $ended;
	}
	return time - (defined $ended && $ended > $committed ? $ended : $committed);
}

# Whether the big transaction is over; notes when.
sub finished
{
	return 1 if $ended;
	return 0 unless $emitter->{select}->can_read(0);
	$emitter->receive;
	$ended = time;
	return 1;
}

my $start = time;
$emitter->must('BEGIN');
$emitter->send("SELECT count(eb_emit('big.one', jsonb_build_object('i', i, 'pad', repeat('x', 100)), 'aggregate' || i % 100)) FROM (SELECT generate_series(1, $events) i) s");
my ($before, $trips) = (0, 0);
while (!finished())
{
	my $took = round_trip();
	$before = $took if $took > $before;
	$trips++;
}
note sprintf 'emitted in %.1f s; emitter %d kB, %d round trips of others meanwhile, slowest %.3f s', $ended - $start, $emitter_top, $trips, $before;
within($before, 1, 'while it emits, others are delivered');

$start = time;
undef $ended;
$emitter->send('COMMIT');
my $after = 0;
$trips = 0;
# On while the relay has the million to route.
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
do
{
	my $took = round_trip();
	$after = $took if $took > $after;
	$trips++;
	finished();
} until ($ended && $node->safe_psql('postgres', 'SELECT lag = 0 FROM eb_stat_bus') eq 't' || time > $deadline);
note sprintf 'committed in %.1f s, routed %.1f s later; %d round trips of others, slowest %.3f s after the flush',
  $ended - $start, time - $ended, $trips, $after;
note "above their bases: emitter $emitter_top kB, relay $relay_top kB";
SKIP:
{
	skip "$ENV{FLAVOUR} multiplies memory", 2 if ($ENV{FLAVOUR} // '') =~ /^(sanitize|valgrind)$/;
	cmp_ok($emitter_top, '<=', $limit, 'the emitter stays within 64 MB above its base');
	cmp_ok($relay_top, '<=', $limit, 'so does the relay');
}
within($after, 1, 'others are delivered after the flush');
is($node->safe_psql('postgres', $relay), $relay_pid, 'the relay is the same');

# Nothing lost, nothing twice.
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT payload->>'i') FROM eventbus.event WHERE type = 'big.one'}),
	"$events|$events", 'all are in the log');
is($node->safe_psql('postgres', q{SELECT sum(d.events) FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = subscription_id WHERE name = 'big'}),
	$events, 'all are in the queue');
$consumer->must(q{DO $$
	BEGIN
		LOOP
			PERFORM eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM eb_fetch('big', 20000)) f;
			EXIT WHEN NOT FOUND;
		END LOOP;
	END $$}, 120);
is($node->safe_psql('postgres', q{SELECT count(*) FROM eventbus.delivery}), 0, 'and can be drained');
$_->close foreach $emitter, $other, $consumer;
$node->stop('fast');
done_testing();
