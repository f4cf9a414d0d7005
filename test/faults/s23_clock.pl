# 23: The clock goes back by an hour and on by a day.
#
# libfaketime moves the server's clock, not the load's: its ids, UUIDv7 of the
# caller's, come from before and from after.  V does not count, for a lease is a
# promise in the server's time.
use strict;
use warnings;
use Checker;
use Ledger;
use PostgreSQL::Test::Utils;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(23, 'the clock jumps');
my ($library) = grep { -e } $ENV{FAKETIME_LIBRARY} // (), glob '/usr/lib/*/faketime/libfaketime.so.1';
if (!$library)
{
	$s->skip_part('the clock jumps', 'libfaketime is not installed (Debian: libfaketime), nor does FAKETIME_LIBRARY name it');
	$s->done;
	exit 0;
}
my $clock = PostgreSQL::Test::Utils::tempdir . '/clock';

sub set_clock
{
	my ($offset) = @_;
	unlink "$clock.new";
	append_to_file("$clock.new", "$offset\n");
	rename "$clock.new", $clock or die $!;
}

my $node = $s->node(conf => "eventbus.dedup_window = '3 d'\neventbus.retention = 0\n", stopped => 1);
set_clock('+0s');
{
	local %ENV = (%ENV, LD_PRELOAD => $library, FAKETIME_TIMESTAMP_FILE => $clock, FAKETIME_NO_CACHE => 1,
		FAKETIME_DONT_FAKE_MONOTONIC => 1, FAKETIME_DONT_RESET => 1);
	$node->start;
}
my $load = $s->load($node)->start;
my $ledger = Ledger->open($load->{folder}, 'producer.1.probe');
$s->let_run($node, 200);
for my $jump ([ '-3600s', 'an hour back' ], [ '+0s', 'and on again' ], [ '+86400s', 'a day on' ], [ '+0s', 'and back again' ])
{
	set_clock($jump->[0]);
	$s->{faults}++;
	my $difference = $s->ask($node, 'SELECT round(extract(epoch FROM clock_timestamp()))') - time;
	$s->part(abs($difference - ($jump->[0] =~ /^([-+]\d+)/)[0]) < 60, sprintf 'the clock goes %s: %.0f s', $jump->[1], $difference);
	# What is emitted now is delivered now.
	my $tx = "probe:$s->{faults}";
	$ledger->write_sync('intent', $tx, 1, 'probe', Ledger::now());
	my $id = $s->ask($node, qq{INSERT INTO marker (tx, event_id) SELECT '$tx', eb_emit('load.probe.fast', '{"tx": "$tx", "i": 1}', 'probe') RETURNING event_id});
	$ledger->write_sync('ok', $tx, Ledger::now(), '');
	my $begin = time;
	my $took = eval { $s->wait_for($node, "SELECT EXISTS (SELECT FROM applied WHERE event_id = '$id')", timeout => 60) };
	$s->part(defined $took, sprintf '%s: a new event is delivered and settled after %.1f s', $jump->[1], time - $begin);
	$s->let_run($node, 200);
}

# A day on, leases that were given an hour or a day later are over for good.
$s->part($load->stop_producers == 0, 'producers went through');
set_clock('+90000s');
my $start = time;
my $drained = eval { $s->wait_for($node, 'SELECT lag = 0 AND queued = 0 FROM eb_stat_bus') };
$s->part(defined $drained, 'the queue is drained');
$s->part($load->stop == 0, 'consumers went through');
# While the server is an hour behind, ids of the caller's are in the future and refused (22023).
my $checker = Checker->new($load, allow => qr/^(57|40001|40P01|08|25P02|55000|22023)/);
my %n = $checker->run;
$s->count($_, $n{$_}, join '; ', grep { /^$_/ } @{ $checker->{found} }) foreach qw(L P D I T O S F Q R);
$s->fact("V = $n{V}: leases that the jumps ended early");
$s->part(0, "unexpected error, $checker->{errors}{$_} times: $_") foreach sort keys %{ $checker->{errors} };
$s->{events} += $checker->events;
$node->stop('fast');
$s->done;
