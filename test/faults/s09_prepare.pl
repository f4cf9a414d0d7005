# 9: PREPARE TRANSACTION after an emit is refused, and nothing is lost or left behind.
use strict;
use warnings;
use Scenario;

my $s = Scenario->new(9, 'PREPARE TRANSACTION after an emit');
my $node = $s->node;
$node->safe_psql('postgres', q{CREATE EXTENSION eventbus; CREATE TABLE other (i int); SELECT eb_subscribe('all')});
my $session = EbSession->new($node->connstr('postgres'), 'preparer');
my ($lost, $torn, $phantom) = (0, 0, 0);

foreach my $i (1 .. 20)
{
	$session->must("BEGIN; INSERT INTO other VALUES ($i)");
	$session->must("SELECT eb_emit('two.phase', '{\"i\": $i}')");
	my $rows = $session->query("PREPARE TRANSACTION 'p$i'");
	if (defined $rows)
	{
		# Accepted: then its events have to be there once it is committed.
		$session->must("COMMIT PREPARED 'p$i'");
		$lost++ unless $session->must(qq{SELECT count(*) FROM eb_read(1, 1000, '{two.phase}') WHERE payload->>'i' = '$i'});
	}
	elsif ($i == 1)
	{
		$s->part($session->{state} eq '0A000', "refused with $session->{state}: $session->{error}");
		$session->must('\errverbose');
	}
}
my (undef, undef, $hint) = $node->psql('postgres', "BEGIN; SELECT eb_emit('two.phase', '{}'); PREPARE TRANSACTION 'p'");
$s->part(!!($hint =~ /HINT:/), 'with a hint');
$torn = $node->safe_psql('postgres', 'SELECT count(*) FROM other') unless $lost;
$phantom = $node->safe_psql('postgres', q{SELECT count(*) FROM eb_read(1, 1000, '{two.*}')}) unless $lost;
$s->part($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts') == 0, 'no prepared transaction is left');
$s->count('L', $lost, 'prepared, committed, and not in the log');
$s->count('T', $torn, 'rows of refused transactions are there');
$s->count('P', $phantom, 'events of refused transactions are there');

# What has not emitted may be prepared; what settles may not lose it.
$node->safe_psql('postgres', q{SELECT eb_emit('later.one', '{}')});
$s->wait_for($node, 'SELECT lag = 0 AND queued = 1 FROM eb_stat_bus') unless $lost;
if (!$lost)
{
	$session->must("BEGIN; INSERT INTO other VALUES (0)");
	my $receipt = $session->must(q{SELECT receipt FROM eb_fetch('all')});
	$session->must("SELECT eb_ack($receipt)");
	$session->must("PREPARE TRANSACTION 'settles'");
	$session->must("ROLLBACK PREPARED 'settles'");
	my $again = $session->must(q{SELECT count(*) FROM eb_fetch('all', wait => '30 s')});
	$s->count('S', $again == 1 ? 0 : 1, 'an ack that was prepared and rolled back took its event away');
}
$session->close;
$node->stop('fast');
$s->done;
