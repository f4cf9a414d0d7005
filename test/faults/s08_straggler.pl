# 8: a straggler emits first and commits after 100,000 others (5,000 in the short form).
use strict;
use warnings;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(8, 'a straggler emits first and commits last');
my $others = $s->{seconds} >= 20 ? 100_000 : 5_000;
my $node = $s->node(conf => "eventbus.segment_events = 10000\n");
my $load = $s->load($node, producers => 4);
$node->safe_psql('postgres', q{SELECT eb_subscribe('straggler', '{late.*}')});
$load->start;
my $connstr = $node->connstr('postgres');
my ($late, $other, $consumer) = map { EbSession->new($connstr, $_) } qw(late other consumer);
my @took;
$s->let_run($node, 200);

foreach my $round (1 .. 3)
{
	$late->must("BEGIN;\nSELECT eb_emit('late.one', '{}')");
	$other->must("SELECT count(eb_emit('other.one', '{}')) FROM generate_series(1, 100)") for 1 .. ($round == 1 ? $others : 1000) / 100;
	$consumer->send(q{SELECT receipt, "offset" FROM eb_fetch('straggler', wait => '60 s')});
	my $passed = $other->must('SELECT eb_last_offset()');
	my $start = time;
	$late->must('COMMIT');
	my ($receipt, $offset) = split /\|/, $consumer->receive(90) // '';
	push @took, time - $start;
	$s->count('S', 1, 'the straggler was not delivered'), last unless $offset;
	$s->count('R', $offset > $passed ? 0 : 1, "the straggler came at $offset, which $passed has passed");
	$consumer->must("SELECT eb_ack($receipt)");
	$s->{faults}++;
}
my ($slowest) = sort { $b <=> $a } @took;
$s->bound("a straggler is delivered after its commit, $others others meanwhile", $slowest, 1);
$_->close foreach $late, $other, $consumer;
$s->heal_and_check($load);
$node->stop('fast');
$s->done;
