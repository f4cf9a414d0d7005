# What works on a standby: subscriptions that are not durable, and eb_await.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EbSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION eventbus;
	SELECT eb_subscribe('durable');
	SELECT eb_emit('a.b', to_jsonb(i)) FROM generate_series(1, 20) i;
});
$primary->poll_query_until('postgres', 'SELECT position >= 20 FROM eb_stat_bus') or die 'the relay does not route';
$primary->backup('b');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

is($standby->safe_psql('postgres', q{
	SELECT FROM eb_subscribe('tail', durable => false);
	SELECT count(*), min("offset"), max("offset") FROM eb_fetch('tail')}), "16|5|20",
	'a session of a standby starts with the last of the log');

my $tail = EbSession->new($standby->connstr('postgres'), 'tail');
$tail->must(q{SELECT FROM eb_subscribe('tail', durable => false, topics => '{c.*}')});
$tail->send(q{SELECT payload FROM eb_fetch('tail', wait => '30 s')});
$primary->safe_psql('postgres', q{SELECT eb_emit('c.d', '21')});
is($tail->receive, '21', 'and waits for what is replicated');
$tail->close;

my $id = $primary->safe_psql('postgres', 'SELECT event_id FROM eb_read(1, 1)');
is($standby->safe_psql('postgres', "SELECT eb_await('$id', timeout => '0')"), 'timeout', 'eb_await looks');
$primary->safe_psql('postgres', q{SELECT eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM eb_fetch('durable')) d});
is($standby->safe_psql('postgres', "SELECT eb_await('$id', timeout => '10 s')"), 'acked', 'and waits');

my ($rc, $out, $err) = $standby->psql('postgres', "SELECT * FROM eb_fetch('durable')");
like($err, qr/cannot execute eb_fetch during recovery/, 'a durable subscription is for the primary');

$standby->stop;
$primary->stop;
done_testing();
