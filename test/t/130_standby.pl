# A hot standby: it can be read, refuses everything that writes, and has a relay
# once it is promoted.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EbBound;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "log_statement = none\neventbus.segment_events = 200\n");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION eventbus');
$primary->safe_psql('postgres', q{SELECT eb_subscribe('s', '{a.*}')});
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

# In several segments, made after the backup; a delivery stays leased.
$primary->safe_psql('postgres', q{SELECT count(eb_emit('a.b', to_jsonb(i))) FROM generate_series(1, 100) i}) foreach 1 .. 10;
$primary->poll_query_until('postgres', 'SELECT lag = 0 FROM eb_stat_bus') or die 'relay lags';
$primary->safe_psql('postgres', q{SELECT eb_ack(r) FROM (SELECT DISTINCT receipt r FROM eb_fetch('s', 300)) x});
my $receipt = $primary->safe_psql('postgres', q{SELECT DISTINCT receipt FROM eb_fetch('s', 1)});
my $last = $primary->safe_psql('postgres', 'SELECT eb_last_offset()');
my $id = $primary->safe_psql('postgres', 'SELECT event_id FROM eb_read(1000, 1)');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

ok($standby->poll_query_until('postgres', "SELECT eb_last_offset() = $last"), 'eb_last_offset reaches the last event');
is($standby->safe_psql('postgres', q{SELECT count(*), min("offset"), max("offset") FROM eb_read(1, 5000)}),
	"1000|1|$last", 'eb_read reads all segments');
is($standby->safe_psql('postgres', qq{SELECT "offset" FROM eb_get('$id')}), 1000, 'eb_get finds an event');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM eb_read(1, 5000, '{a.*}', '$ == 7')}), 10, 'with a filter, too');

sub refused
{
	my ($call) = @_;
	my ($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\n$call");
	like($err, qr/ERROR:  25006/, "$call: 25006");
}
refused($_)
  foreach q{SELECT eb_emit('a.b', '1')}, q{SELECT eb_emit('[]'::jsonb)}, q{SELECT * FROM eb_fetch('s')}, "SELECT eb_ack($receipt)",
  "SELECT eb_nack($receipt)", "SELECT eb_extend($receipt)", q{SELECT eb_subscribe('t')}, q{SELECT eb_replay('s', 1)},
  'SELECT eb_relay_run()', q{SELECT eb_once('x', '} . $id . q{')}, q{SELECT eb_unsubscribe('s')}, q{SELECT eb_pause('s')}, q{SELECT eb_resume('s')},
  q{SELECT eb_seek('s', 1)}, q{SELECT eb_dlq_replay('{1}')}, q{SELECT eb_dlq_purge('{1}')}, q{SELECT eb_dead_letter('j', 't', '1', 'MaxRetries')},
  q{SELECT eb_dlq_source('j', NULL)}, q{SELECT eb_register_type('a.b', '{}')}, q{SELECT eb_drop_type('a.b')}, q{SELECT eb_grant('emit', '>', 'pg_monitor')},
  q{SELECT eb_revoke('emit', '>', 'pg_monitor')}, q{SELECT eb_lag_policy('s', 'skip')};
is($standby->safe_psql('postgres', q{SELECT count(*) > 0 FROM eb_health()}), 't', 'eb_health answers');
is($standby->safe_psql('postgres', q{SELECT count(*) > 0 FROM eb_metrics()}), 't', 'eb_metrics, too');
is($standby->safe_psql('postgres', q{SELECT eb_await('} . $id . q{', 's', '10 ms') IS NOT NULL}), 't', 'and eb_await');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eventbus%'"),
	0, 'no worker of ours');

# What was refused has not fixed where offsets go on: the primary goes on meanwhile.
$primary->safe_psql('postgres', q{SELECT count(eb_emit('b.c', '1')) FROM generate_series(1, 50)});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

# The primary dies; the standby takes over.
my $seen = $standby->safe_psql('postgres', 'SELECT max("offset") FROM eb_read(1, 5000)');
$primary->stop('immediate');
my $start = time;
$standby->promote;
ok($standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eventbus relay'"),
	'a relay runs after the promotion');
within(time - $start, 5, 'soon after it');
$id = $standby->safe_psql('postgres', q{SELECT eb_emit('a.new', '1')});
cmp_ok($standby->safe_psql('postgres', qq{SELECT "offset" FROM eb_get('$id')}), '>', $seen, 'offsets go on above all that were seen');
cmp_ok($standby->safe_psql('postgres', 'SELECT eb_last_offset()'), '>', $seen, 'and so does the safe offset');

# Exactly what was not settled before is delivered: 1000 - 300, one of them leased.
is($standby->safe_psql('postgres', "SELECT eb_ack($receipt)"), 1, 'a lease survives the promotion');
$standby->poll_query_until('postgres', 'SELECT lag = 0 FROM eb_stat_bus') or die 'relay lags';
my $rows = $standby->safe_psql('postgres', q{SELECT count(*), count(DISTINCT event_id), count(*) FILTER (WHERE type = 'a.new') FROM eb_fetch('s', 5000)});
is($rows, '700|700|1', 'what was not settled is delivered, and the new event');
$standby->stop('fast');
done_testing();
