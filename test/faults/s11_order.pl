# 11: B emits, reads A's commit, and commits; three isolation levels; A's offset is the lower.
use strict;
use warnings;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(11, "B reads A's commit, then commits");
my $wanted = $ENV{EB_PAIRS} || ($s->{fault} ? 200 : $s->{seconds} < 20 ? 5000 : 100_000);
my $node = $s->node(conf => "eventbus.segment_events = 100000\n");
$node->safe_psql('postgres', q{
	CREATE EXTENSION eventbus;
	CREATE TABLE seen (n bigserial PRIMARY KEY, event_id uuid);
	-- Each call is B: it emits, sees the newest commits of others, emits what it saw, and
	-- is A for whoever comes next.  seen is read under the transaction's own isolation level.
	CREATE PROCEDURE pairs(rounds int) LANGUAGE plpgsql AS $$
	DECLARE a uuid; b uuid;
	BEGIN
		FOR i IN 1 .. rounds LOOP
			IF i % 2 = 0 THEN PERFORM eb_emit('pair.early', '{}'); END IF;
			SELECT event_id INTO a FROM seen ORDER BY n DESC LIMIT 1;
			b := eb_emit('pair.late', jsonb_build_object('after', a));
			INSERT INTO seen (event_id) VALUES (b);
			COMMIT;
		END LOOP;
	END $$});
my $connstr = $node->connstr('postgres');
my @levels = (('read committed') x 4, ('repeatable read') x 2, ('serializable') x 2);
my ($pairs, $round) = (0, 0);

# B emitted before A did anything, and commits after it has read A's commit.
{
	my ($a, $b) = map { EbSession->new($connstr, $_) } qw(a b);
	foreach (1 .. 20)
	{
		$b->must("BEGIN; SELECT eb_emit('pair.early', '{}')");
		my $id = $a->must("SELECT eb_emit('pair.a', '{}')");
		$b->must(qq{SELECT eb_emit('pair.b', jsonb_build_object('after', (SELECT event_id FROM eb_get('$id'))))});
		$b->must('COMMIT');
	}
	$_->close foreach $a, $b;
}
until ($pairs >= $wanted)
{
	my @children = map {
		my $w = $_;
		EbSession::in_child(sub {
			my $session = EbSession->new($connstr, "pairs $w");
			$session->must("SET default_transaction_isolation = '$levels[$w]'");
			# A serialization failure of the COMMIT ends the call.
			my $rounds = $wanted < 10000 ? 50 : 500;
			$session->query("CALL pairs($rounds)", 300) for 1 .. ($levels[$w] eq 'serializable' ? 10 : 1);
			$session->close;
		})
	} 0 .. $#levels;
	my $failed = EbSession::wait_children(@children);
	$s->part(0, "$failed writers failed") if $failed;
	$pairs = $node->safe_psql('postgres', q{SELECT count(*) FROM eventbus.event WHERE payload ? 'after' AND payload->>'after' IS NOT NULL});
	last if ++$round > 200;
}
$s->{events} = $node->safe_psql('postgres', 'SELECT count(*) FROM eventbus.event');
my $inverted = $node->safe_psql('postgres', q{
	SELECT count(*) FROM eventbus.event b LEFT JOIN eventbus.event a ON a.event_id = (b.payload->>'after')::uuid
	WHERE b.payload->>'after' IS NOT NULL AND (a.event_id IS NULL OR a."offset" >= b."offset")});
$s->count('O', $inverted, 'an event has seen one whose offset is not lower');
$s->part($pairs >= $wanted, "$pairs pairs");
$node->stop('fast');
$s->done;
