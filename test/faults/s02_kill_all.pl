# 2: SIGKILL the postmaster and all of its children under load, again and again.
use strict;
use warnings;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(2, 'SIGKILL the postmaster and all children');
my $soak = $ENV{EB_SOAK} || 0;
my $kills_wanted = $soak ? $ENV{EB_KILLS} || 200 : 2;
my $node = $s->node(conf => "wal_writer_delay = 10s\n");
my $load = $s->load($node, $soak ? (pause => 0) : ());
my $connstr = $node->connstr('postgres');
my $down = 0;

sub kill_and_wait
{
	my $start = time;
	$s->kill_all($node);
	$s->wait_up($node);
	$down = time - $start if time - $start > $down;
}

# What a reader is shown is there after a crash, although its emitter did not
# wait for the disk.
sub shown_is_kept
{
	my $emitter = EbSession->new($connstr, 'emitter');
	my $reader = EbSession->new($connstr, 'reader');
	my $seen = $reader->must('SELECT eb_last_offset()');
	$emitter->must("SET synchronous_commit = off; SELECT count(eb_emit('async.one', '{}')) FROM generate_series(1, 10)");
	my @rows = split /\n/, $reader->must(qq{SELECT "offset", event_id FROM eb_read($seen + 1, 100, '{async.*}')});
	kill_and_wait();
	$_->close foreach $emitter, $reader;
	foreach (@rows)
	{
		my ($offset, $id) = split /\|/;
		my $now = $s->ask($node, qq{SELECT "offset" FROM eb_get('$id')}) // '';
		$s->count('P', 1, "event $id was read at $offset and is at '$now' after a crash") unless $now eq $offset;
	}
	return scalar @rows;
}

# A reader may pass offsets that were reserved and given up; a crash that leaves
# nothing of them must not give them away again.
sub given_up_is_gone
{
	my $holder = EbSession->new($connstr, 'holder');
	my $victim = EbSession->new($connstr, 'victim');
	my $pid = $victim->backend;
	$holder->must('SELECT pg_advisory_lock(7431)');
	$victim->must("SET eventbus.debug_hold = 'after_reserve'");
	$victim->send("SELECT eb_emit('gap.given_up', '{}') FROM generate_series(1, 10)");
	$s->wait_for($node, "SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE pid = $pid");
	$holder->must("SELECT pg_cancel_backend($pid)");
	$victim->receive;
	my $passed = $holder->must('SELECT eb_last_offset()');
	kill_and_wait();
	$_->close foreach $holder, $victim;
	my $id = $s->ask($node, "SELECT eb_emit('gap.next', '{}')");
	my $offset = $s->ask($node, qq{SELECT "offset" FROM eb_get('$id')});
	$s->count('R', $offset <= $passed ? 1 : 0, "a new event at $offset after a reader passed $passed");
}

# The relay would flush the log as well.
$s->set($node, 'eventbus.relay' => 'off');
$s->wait_for($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'eventbus relay')");
$s->fact(shown_is_kept() . ' events that were read and not waited for');
given_up_is_gone();
$s->set($node, 'eventbus.relay' => 'on');

# A round is as much as the checker can hold comfortably.
my ($events, $kills, $from) = (0, 0, 0);
my $round = $soak ? 20000 : 0;
for (;;)
{
	$load->{from} = $from;
	$load->start;
	my $until = time + $s->{seconds};
	my $here = 0;
	my $stop = $soak ? $kills + $kills_wanted * $round / $soak : 0;
	do
	{
		$s->let_run($node, $soak ? $round / 5 : 100 + int rand 500);
		if (!$soak || $kills < $stop) { kill_and_wait(); $kills++; $here++; }
	} while ($soak ? $s->ask($node, 'SELECT eb_last_offset()') < $from + $round : $here < 2 || time < $until);
	$s->let_run($node, 100);
	my $checker = $s->heal_and_check($load, apart => !!$soak, checker => { from => $from });
	$events += $checker->events;
	last if $events >= $soak && (!$soak || $kills >= $kills_wanted);
	last if grep { $_ } values %{ $s->{n} };
	$from = $checker->{highest};
	$node->safe_psql('postgres', 'TRUNCATE marker, applied');
}
$s->fact(sprintf '%d kills under load, longest time to a new connection %.2f s', $kills, $down);
$node->stop('fast');
$s->done;
