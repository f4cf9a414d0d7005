# 14: Kill the primary and promote a synchronous standby, again and again.
#
# ROUNDS=n times; the matrix has 20.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Scenario;
use Time::HiRes qw(time);

my $s = Scenario->new(14, 'kill the primary, promote a synchronous standby');
my $rounds = $ENV{ROUNDS} || 3;
my $primary = $s->node(name => 'p0', init => { allows_streaming => 1 });
my $load = $s->load($primary)->start;
my $longest = 0;
for my $round (1 .. $rounds)
{
	$primary->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new("p$round");
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	$primary->append_conf('postgresql.conf', "synchronous_standby_names = '*'\n");
	$primary->reload;
	$s->wait_for($primary, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'");
	$s->let_run($primary, 200);
	$s->part(0, "round $round: something of ours runs on the standby")
	  if $standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eventbus%'") ne '0';
	$s->kill_all($primary, stopped => 1);
	my $begin = time;
	$standby->promote;
	my $promoted = time;
	$load->point_at($standby);
	$s->wait_for($standby, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus relay'");
	$longest = time - $promoted if time - $promoted > $longest;
	$s->let_run($standby, 100);
	$s->fact(sprintf 'round %d: promoted in %.1f s', $round, $promoted - $begin);
	$primary = $standby;
}
$s->bound("the relay is there after a promotion, the longest of $rounds", $longest, 5);
$s->heal_and_check($load);
my $epochs = $primary->safe_psql('postgres', 'SELECT count(*) FROM eventbus.epoch WHERE id > 0');
$s->part($epochs == $rounds + 1, "$epochs epochs on record after $rounds promotions");
$primary->stop('fast');
$s->done;
