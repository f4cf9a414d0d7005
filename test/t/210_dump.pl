# pg_dump in full flow, restored into a younger cluster in every usual way: nothing
# unsettled is lost, nothing settled comes again, offsets go on above, and a second
# dump is equal to the first.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EventbusLoad;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init;
$old->append_conf('postgresql.conf', "eventbus.segment_events = 500\n");
$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE app');
$old->safe_psql('app', 'CREATE ROLE shop; CREATE EXTENSION eventbus');
install_load($old, 'app');
$old->safe_psql('app', q{
	SELECT eb_subscribe('fast', lease => '2 s');
	SELECT eb_subscribe('ordered', '{order.>}', ordering => 'aggregate', lease => '2 s');
	SELECT eb_subscribe('idle', lease => '2 s');
	SELECT eb_grant('emit', 'order.*', 'shop');
	SELECT eb_grant('consume', 'idle', 'shop');
	SELECT eb_register_type('order.checked', '{"type": "object"}');
});
# Delayed events, an id of the caller's, dead letters, and leases that nobody will settle.
$old->safe_psql('app', q{
	INSERT INTO sent SELECT eb_emit('order.delayed', '{}', deliver_at => clock_timestamp() + interval '12 s') FROM generate_series(1, 5);
	INSERT INTO sent SELECT eb_emit('order.bad', '{}') FROM generate_series(1, 3);
	INSERT INTO sent SELECT eb_emit('order.leased', '{}') FROM generate_series(1, 10)});
$old->poll_query_until('app', 'SELECT sum(events) = 54 FROM eventbus.delivery') or die;
$old->safe_psql('app', q{
	SELECT eb_nack(receipt, ARRAY[event_id], 'broken', 'ValidationFailed') FROM eb_fetch('idle', 1000) WHERE type = 'order.bad'});
my @load = start_load($old, 'app', 'CALL produce()', 'CALL produce()', "CALL consume_on('fast')", "CALL consume_on('ordered')");
ok($old->poll_query_until('app', 'SELECT count(*) > 2500 FROM sent'), 'a bus in full flow');
ok($old->poll_query_until('app', "SELECT count(*) > 1000 FROM acked WHERE subscription = 'fast'"), 'and consumed from');

my $dir = PostgreSQL::Test::Utils::tempdir;
my @from = ('-d', $old->connstr('app'));
command_ok([ 'pg_dump', @from, '-f', "$dir/plain.sql" ], 'pg_dump, plain');
command_ok([ 'pg_dump', @from, '-Fc', '-f', "$dir/custom" ], 'pg_dump -Fc');
my $errors = stop_load($old, 'app', @load);
is($errors, '', 'neither producers nor consumers noticed');
# Between two dumps that belong together nobody makes a segment.
$old->append_conf('postgresql.conf', 'eventbus.relay = off');
$old->reload;
$old->poll_query_until('app', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'eventbus relay%'") or die;
command_ok([ 'pg_dump', @from, '--schema-only', '-f', "$dir/schema.sql" ], 'pg_dump --schema-only');
command_ok([ 'pg_dump', @from, '--data-only', '-f', "$dir/data.sql" ], 'pg_dump --data-only');
$old->append_conf('postgresql.conf', 'eventbus.relay = on');
$old->reload;
ok(drain($old, 'app', $_), "old: $_ drains") for qw(fast ordered idle);
$old->stop;

# A dump without what differs from run to run.
sub normal { return join '', grep { !/^(\\(un)?restrict|--)/ } split /^/, slurp_file($_[0]) }

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->start;
$new->safe_psql('postgres', 'CREATE ROLE shop');

my %restore = (
	plain => [ [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql" ] ],
	custom => [ [ 'pg_restore', '--exit-on-error', '-j', '3', "$dir/custom" ] ],
	apart => [
		[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/schema.sql" ],
		[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/data.sql" ] ]);
for my $db (sort keys %restore)
{
	$new->safe_psql('postgres', "CREATE DATABASE \"$db\"");
	command_ok([ @$_, '-d', $new->connstr($db) ], "$db: restored while relays run") for @{ $restore{$db} };
	my $max = $new->safe_psql($db, 'SELECT max("offset") FROM eventbus.event');
	my $seen = $new->safe_psql($db, q{SELECT eb_emit('order.new', '{}'); SELECT eb_last_offset()});
	$new->safe_psql($db, q{INSERT INTO sent SELECT event_id FROM eventbus.event WHERE type = 'order.new'});
	cmp_ok((split /\n/, $seen)[-1], '>', $max, "$db: the next offset is above all restored");
	for my $subscription (qw(fast ordered idle))
	{
		ok(drain($new, $db, $subscription), "$db: $subscription gets all that was not settled")
		  or diag $new->safe_psql($db, 'SELECT * FROM eb_health(); SELECT * FROM eb_stat_subscription; TABLE eventbus.epoch');
		is(ledger($new, $db, $subscription), '0|0|0', "$db: $subscription: nothing lost, phantom, or twice in the log");
	}
	is($new->safe_psql($db, q{SELECT count(*) FROM eventbus.dead_letter WHERE type = 'order.bad'}), 3, "$db: dead letters came along");
	is($new->safe_psql($db, q{SELECT eb_dlq_replay(subscription => 'idle')}), 3, "$db: and can be replayed");
	is($new->safe_psql($db, q{SELECT count(*) FROM eb_fetch('idle')}), 3, "$db: with their events");
	is($new->safe_psql($db, q{SELECT count(*) FROM eb_grants WHERE grantee = 'shop'}), 2, "$db: grants came along");
	is($new->safe_psql($db, q{SELECT has_function_privilege('shop', 'eb_emit(jsonb)', 'EXECUTE')}), 't', "$db: with EXECUTE");
	is($new->safe_psql($db, q{SELECT count(*) FROM eb_types}), 1, "$db: contracts came along");
	ok($new->poll_query_until($db, 'SELECT count(*) = 2 FROM eventbus.epoch WHERE id > 0'), "$db: a new epoch began");
	like($new->safe_psql($db, q{SELECT detail FROM eb_health() WHERE component = 'epoch'}), qr/^epoch changed: epoch 2/, "$db: which eb_health names");
}

# Where nothing runs, a second dump is equal to the first.
$new->append_conf('postgresql.conf', 'eventbus.relay = off');
$new->reload;
$new->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'eventbus relay' OR application_name = 'eventbus relay'") or die;
for my $case ([ 'again_plain', 'plain' ], [ 'again_custom', 'custom' ])
{
	my ($db, $how) = @$case;
	$new->safe_psql('postgres', "CREATE DATABASE $db");
	command_ok([ @$_, '-d', $new->connstr($db) ], "$how: restored again") for @{ $restore{$how} };
	if ($how eq 'plain')
	{
		command_ok([ 'pg_dump', '-d', $new->connstr($db), '-f', "$dir/second.sql" ], 'dumped a second time');
		ok(normal("$dir/second.sql") eq normal("$dir/plain.sql"), 'plain: the second dump is equal')
		  or diag `diff $dir/plain.sql $dir/second.sql | head -40`;
	}
	else
	{
		command_ok([ 'pg_dump', '-Fc', '-d', $new->connstr($db), '-f', "$dir/second" ], 'dumped a second time');
		command_ok([ 'pg_restore', '-f', "$dir/$_.txt", "$dir/$_" ], 'as text') for qw(custom second);
		ok(normal("$dir/second.txt") eq normal("$dir/custom.txt"), 'custom: the second dump is equal')
		  or diag `diff $dir/custom.txt $dir/second.txt | head -40`;
	}
}
$new->stop;
done_testing();
