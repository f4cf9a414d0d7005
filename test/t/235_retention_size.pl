# eventbus.retention_size: a log that is larger loses settled segments before their
# time, the oldest first, no more of them than it takes, and none that is needed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('size');
$node->init;
$node->append_conf('postgresql.conf', "eventbus.segment_events = 100\neventbus.relay = off\neventbus.retention = '30 d'\neventbus.retention_size = '1 MB'\n");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION eventbus; SELECT eb_subscribe('s'); SELECT eb_subscribe('slow')});
$node->safe_psql('postgres', q{CREATE PROCEDURE run(n int) LANGUAGE plpgsql AS $$BEGIN FOR i IN 1..n LOOP PERFORM public.eb_relay_run(); COMMIT; END LOOP; END$$});
$node->safe_psql('postgres', q{CREATE PROCEDURE settle(subscription text) LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			PERFORM public.eb_ack(r) FROM (SELECT DISTINCT receipt AS r FROM public.eb_fetch(subscription, 1000)) x;
			EXIT WHEN NOT FOUND;
			COMMIT;
		END LOOP;
	END$$});

# Some 220 kB a segment, which no compression makes less of.
sub emit
{
	my ($n) = @_;
	$node->safe_psql('postgres', qq{SELECT count(eb_emit('order.placed', (SELECT jsonb_agg(md5(random()::text || i || j)) FROM generate_series(1, 50) j))) FROM generate_series(1, $n) i});
	$node->safe_psql('postgres', 'CALL run(3)');
}
my $size = q{SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'eventbus.event'::regclass};
my $first = q{SELECT min("offset") FROM eventbus.event};
my $mb = 1024 * 1024;

emit(200);
$node->safe_psql('postgres', q{CALL settle('s'); CALL settle('slow'); CALL run(5)});
cmp_ok($node->safe_psql('postgres', $size), '<', $mb, 'a log below the bound');
is($node->safe_psql('postgres', $first), 1, 'keeps everything until its time');

emit(800);
$node->safe_psql('postgres', q{CALL settle('s'); CALL run(12)});
my $large = $node->safe_psql('postgres', $size);
cmp_ok($large, '>', 1.5 * $mb, 'a log above it');
is($node->safe_psql('postgres', $first), 201, 'loses what is settled, and keeps what a subscription has not settled');

$node->safe_psql('postgres', q{CALL settle('slow'); CALL run(1)});
is($node->safe_psql('postgres', $first), 301, 'that is settled: the oldest goes first');
$node->safe_psql('postgres', 'CALL run(15)');
my $left = $node->safe_psql('postgres', $size);
cmp_ok($left, '<=', $mb, 'until the log is within the bound');
my $segment = $large / 9;
cmp_ok($left, '>', $mb - 2 * $segment, 'and no further');
my $from = $node->safe_psql('postgres', $first);
$node->safe_psql('postgres', 'CALL run(5)');
is($node->safe_psql('postgres', $first), $from, 'then it stays');
is($node->safe_psql('postgres', 'SELECT count(*) FROM eb_read(' . $from . ', 10000)'), 1001 - $from, 'and is whole from there on');

# Time goes by itself; without a bound only time counts.
$node->append_conf('postgresql.conf', "eventbus.retention_size = 0\n");
$node->reload;
emit(500);
$node->safe_psql('postgres', q{CALL settle('s'); CALL settle('slow'); CALL run(5)});
is($node->safe_psql('postgres', $first), $from, 'without a bound nothing goes');
$node->stop;
done_testing();
