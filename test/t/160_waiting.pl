# A consumer that waits: the relay's NOTIFY reaches a listener, and a backend that
# is terminated in a waiting eb_fetch leaves nothing behind.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use EbSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('waiting');
$node->init;
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION eventbus; SELECT eb_subscribe('a')});

my ($rc, $out, $err) = $node->psql('postgres', q{
	LISTEN eventbus_a;
	SELECT eb_emit('wait.notify', '{}');
	SELECT count(*) FROM eb_fetch('a', wait => '30 s');
	SELECT 1;
});
is($rc, 0, 'a listener fetches');
like($out, qr/Asynchronous notification "eventbus_a"/, 'and is notified by the relay');

my $connstr = $node->connstr('postgres');
my $child = EbSession::in_child(sub {
	my $s = EbSession->new($connstr, 'waiter');
	$s->query(q{SELECT count(*) FROM eb_fetch('a', wait => '60 s')});
	return 0;
});
my $waiter = q{FROM pg_stat_activity WHERE query LIKE '%60 s%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()};
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $waiter"), 'a consumer waits');
is($node->safe_psql('postgres', "SELECT bool_and(pg_terminate_backend(pid)) $waiter"), 't', 'it is terminated');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 $waiter"), 'and gone');
waitpid($child, 0);

$node->safe_psql('postgres', q{SELECT eb_emit('wait.after', '{}')});
is($node->safe_psql('postgres', q{SELECT string_agg(type || ' ' || attempt, ',') FROM eb_fetch('a', wait => '30 s')}),
	'wait.after 1', 'the next event goes to who waits now');

$node->stop;
done_testing();
