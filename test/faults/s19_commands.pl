# 19: DROP DATABASE, DROP EXTENSION, RENAME, CREATE DATABASE TEMPLATE, repeatedly.
use strict;
use warnings;
use Scenario;
use List::Util qw(max);
use Time::HiRes qw(time);

my $s = Scenario->new(19, 'commands on whole databases');
my $node = $s->node;
my $relay = "FROM pg_stat_activity WHERE backend_type = 'eventbus relay' AND datname =";
my %slowest;

sub timed
{
	my ($what, $sql, $db) = @_;
	my $start = time;
	$node->safe_psql($db // 'postgres', $sql);
	$slowest{$what} = max($slowest{$what} // 0, time - $start);
	$s->{faults}++;
}

# Our commands go on while another database carries a load.
my $load = $s->load($node, producers => 4)->start;
foreach my $round (1 .. ($s->{seconds} >= 20 ? 10 : 3))
{
	timed('CREATE DATABASE', 'CREATE DATABASE bus');
	timed('CREATE EXTENSION', 'CREATE EXTENSION eventbus', 'bus');
	$node->safe_psql('bus', q{SELECT eb_subscribe('all'); SELECT count(eb_emit('copy.one', '{}')) FROM generate_series(1, 10)});
	$s->wait_for($node, "SELECT count(*) = 1 $relay 'bus'");
	$s->wait_for($node, 'SELECT lag = 0 FROM eb_stat_bus', db => 'bus');
	timed('CREATE DATABASE ... TEMPLATE', 'CREATE DATABASE copy TEMPLATE bus');
	$s->wait_for($node, "SELECT count(*) = 1 $relay 'copy'");
	my $id = $node->safe_psql('copy', "SELECT eb_emit('copy.two', '{}')");
	$s->wait_for($node, "SELECT count(*) > 0 FROM eventbus.epoch WHERE id > 0 AND database = (SELECT oid FROM pg_database WHERE datname = 'copy')", db => 'copy')
	  if $round == 1;
	my $above = $node->safe_psql('copy', qq{SELECT (SELECT "offset" FROM eb_get('$id')) > (SELECT max("offset") FROM eventbus.event WHERE type = 'copy.one')});
	$s->count('I', $above eq 't' ? 0 : 1, 'the copy gave an offset of the original away');
	$s->wait_for($node, "SELECT sum(queued) = 11 FROM eb_stat_bus", db => 'copy');
	timed('RENAME', 'ALTER DATABASE bus RENAME TO coach');
	$s->wait_for($node, "SELECT count(*) = 1 $relay 'coach'");
	timed('DROP EXTENSION', 'DROP EXTENSION eventbus', 'coach');
	timed('DROP DATABASE', 'DROP DATABASE coach');
	timed('DROP DATABASE', 'DROP DATABASE copy');
	timed('DROP DATABASE, another', 'CREATE DATABASE other; ');
	timed('DROP DATABASE, another', 'DROP DATABASE other');
}
$s->bound("$_ takes", $slowest{$_}, 5) foreach sort keys %slowest;
eval { $s->wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus relay'") };
$s->part(!$@, 'no worker is left of a database that is gone');
$s->heal_and_check($load);
$node->stop('fast');
$s->tap('021_launcher_commands', EB_ROUNDS => $s->{seconds} >= 20 ? 10 : 3);
$s->done;
