# 7: SIGSTOP a consumer past its lease, then ack, nack and extend with the stale receipt.
use strict;
use warnings;
use Scenario;
use List::Util qw(min);
use Time::HiRes qw(time);

my $s = Scenario->new(7, 'SIGSTOP a consumer past its lease');
my $wanted = $s->{short} ? 200 : 1000;
my $node = $s->node;
$node->safe_psql('postgres', "CREATE EXTENSION eventbus; SELECT eb_subscribe('fence', '{fence.*}', max_attempts => 1000000)");
my $connstr = $node->connstr('postgres');
my ($stopped, $consumer) = map { EbSession->new($connstr, $_) } qw(stopped consumer);
my $pid = $stopped->backend;
my $n = 34;
$consumer->must("SELECT count(eb_emit('fence.one', to_jsonb(i))) FROM generate_series(1, $n) i");

# Fetches until it has all events; event id => receipt.
sub take
{
	my ($session, $lease) = @_;
	my %of;
	my $deadline = time + 60;
	while (keys %of < $n)
	{
		die 'the events do not come' if time > $deadline;
		foreach (split /\n/, $session->must("SELECT event_id, receipt FROM eb_fetch('fence', 100, lease => '$lease', wait => '5 s')"))
		{
			my ($id, $receipt) = split /\|/;
			$of{$id} = $receipt;
		}
	}
	return %of;
}

my ($tries, $accepted) = (0, 0);
while ($tries < $wanted)
{
	my %of = take($stopped, '100 ms');
	kill 'STOP', $pid;
	$s->{faults}++;
	my %taken = take($consumer, '10 min');
	kill 'CONT', $pid;
	my %stale = map { $_ => 1 } values %of;
	foreach my $receipt (sort keys %stale)
	{
		foreach my $call ("eb_ack($receipt)", "eb_nack($receipt)", "eb_extend($receipt)")
		{
			$tries++;
			my $rows = $stopped->query("SELECT $call");
			next if !defined $rows && $stopped->{state} eq '55000';
			$accepted++;
			$s->count('F', 1, "$call: " . ($rows // "$stopped->{state} $stopped->{error}"));
			last if $stopped->{lost};
		}
	}
	last if $accepted;
	# The rightful owner's receipts still count.
	my %valid = map { $_ => 1 } values %taken;
	$consumer->must("SELECT eb_nack($_, retry_after => '0')") foreach sort keys %valid;
}
$s->count('F', 0);
$s->fact("$tries tries with a stale receipt");
if (!$accepted)
{
	my %last = take($consumer, '10 min');
	my %valid = map { $_ => 1 } values %last;
	$consumer->must("SELECT eb_ack($_)") foreach sort keys %valid;
	my $left = $node->safe_psql('postgres', 'SELECT queued FROM eb_stat_bus');
	$s->count('Q', $left, "$left events are still queued");
}
$_->close foreach $stopped, $consumer;
$node->stop('fast');
$s->done;
