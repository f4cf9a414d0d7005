# pg_upgrade: what was not settled is delivered, offsets go on above all that anybody
# has seen, a lease is still held, and a dump says the same before and after.
#
# OLD_PG_CONFIG names another server version's pg_config, where this eventbus is
# installed too, to upgrade from.  BACKLOG makes more than 3000 events wait, bounds
# the time, and upgrades by copy as well.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EventbusLoad;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $events = $ENV{BACKLOG} || 3000;
my ($bindir) = `pg_config --bindir` =~ /(.*)/;
my $old_config = $ENV{OLD_PG_CONFIG} // "$bindir/pg_config";
my ($old_bindir) = `$old_config --bindir` =~ /(.*)/;
my ($old_major) = `$old_config --version` =~ /(\d+)/ or die "OLD_PG_CONFIG: $old_config does not work";
my ($major) = `pg_config --version` =~ /(\d+)/;
note "from $old_major to $major, $events events";

my $old = PostgreSQL::Test::Cluster->new('old', $old_bindir eq $bindir ? () : (install_path => $old_bindir =~ s{/bin$}{}r));
$old->init;
$old->append_conf('postgresql.conf', 'eventbus.segment_events = ' . int($events / 4) . "\nautovacuum = off\n");
$old->start;
$old->safe_psql('postgres', 'CREATE ROLE shop; CREATE DATABASE app; CREATE DATABASE other');
$old->safe_psql('other', q{CREATE SCHEMA api; CREATE EXTENSION eventbus SCHEMA api; SELECT api.eb_subscribe('o')});
$old->safe_psql('other', q{SELECT api.eb_emit('a.b', '{}')});
$old->safe_psql('app', 'CREATE EXTENSION eventbus');
install_load($old, 'app');
$old->safe_psql('app', q{
	SELECT eb_subscribe('fast');
	SELECT eb_subscribe('ordered', '{order.>}', ordering => 'aggregate');
	SELECT eb_subscribe('idle', '{order.bad,order.leased,order.delayed,order.given,order.new}', lease => '3 s');
	SELECT eb_subscribe('held', '{order.leased}', lease => '1 h');
	SELECT eb_register_type('order.checked', '{"type": "object"}');
	SELECT eb_grant('emit', 'order.*', 'shop');
	SELECT eb_grant('consume', 'idle', 'shop')});
$old->safe_psql('app', qq{
	INSERT INTO sent SELECT eb_emit('order.placed', '{"n": 1}', (i % 10)::text) FROM generate_series(1, $events) i});
$old->safe_psql('app', q{
	INSERT INTO sent SELECT eb_emit('order.bad', '{}', 'bad') FROM generate_series(1, 3);
	INSERT INTO sent SELECT eb_emit('order.leased', '{}', 'leased') FROM generate_series(1, 7);
	INSERT INTO sent SELECT eb_emit('order.delayed', '{}', deliver_at => clock_timestamp() + interval '5 s') FROM generate_series(1, 5)});
# An id of the caller's: its partition is made at run time, too.
my $given = $old->safe_psql('app', q{SELECT eb_emit('order.made', '{}')});
$old->safe_psql('app', qq{INSERT INTO sent VALUES ('$given')});
$given =~ s/.$//;
$given .= $old->safe_psql('app', qq{SELECT CASE WHEN EXISTS (SELECT FROM eventbus.event WHERE event_id = '${given}0') THEN 1 ELSE 0 END});
$old->safe_psql('app', qq{
	INSERT INTO sent SELECT eb_emit('order.given', '{}', event_id => '$given');
	SELECT eb_once('mail', '$given')});
$old->poll_query_until('app', q{SELECT position = last_offset FROM eb_stat_bus}) or die 'the relay lags';
# Some is settled; dead letters; leases that nobody will settle.
$old->safe_psql('app', q{CALL consume('fast', NULL); CALL consume('ordered', NULL)});
$old->safe_psql('app', q{
	SELECT eb_nack(receipt, ARRAY[event_id], 'broken', 'ValidationFailed') FROM eb_fetch('idle', 1000) WHERE type = 'order.bad'});
my $receipt = $old->safe_psql('app', q{SELECT DISTINCT receipt FROM eb_fetch('held')});
is($old->safe_psql('app', q{SELECT count(*) FROM eventbus.dead_letter}), 3, 'dead letters');
cmp_ok($old->safe_psql('app', q{SELECT count(*) FROM eventbus.delivery WHERE lease_until > clock_timestamp()}), '>', 0, 'live leases');
cmp_ok($old->safe_psql('app', q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'eventbus.event'::regclass}), '>', 3, 'segments');
$old->append_conf('postgresql.conf', "eventbus.relay = off\n");
$old->restart;
my $max = $old->safe_psql('app', 'SELECT eb_last_offset()');
my $epoch = $old->safe_psql('app', 'SELECT max(id) FROM eventbus.epoch');

# What pg_dump of the new version says of a database, without what differs from run to run.
sub dump_of
{
	my ($node, $db) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ "$bindir/pg_dump", '-d', $node->connstr($db) ], '>', \$out, '2>', \$err);
	is($err, '', $node->name . ": pg_dump of $db");
	return join '', grep { !/^(\\(un)?restrict|--)/ } split /^/, $out;
}
my %dump = map { $_ => dump_of($old, $_) } qw(app other);
$old->stop;

sub upgrade
{
	my ($name, $preload, @mode) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name);
	$new->init(extra => $major >= 18 && $old_major < 18 ? ['--no-data-checksums'] : []);
	$new->append_conf('postgresql.conf', "eventbus.relay = off\n");
	$new->append_conf('postgresql.conf', "shared_preload_libraries = ''\n") unless $preload;
	my @command = ('pg_upgrade', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old_bindir, '-B', $bindir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port, $major >= 16 ? '--no-sync' : (), @mode);
	chdir PostgreSQL::Test::Utils::tempdir;
	command_ok([ @command, '--check' ], "$name: pg_upgrade --check") if $ENV{BACKLOG};
	my $start = time;
	command_ok(\@command, "$name: pg_upgrade")
	  or diag map { "$_:\n" . join "\n", (split /\n/, slurp_file($_))[-15 .. -1] } glob $new->data_dir . '/pg_upgrade_output.d/*/{log/*.log,*.txt}';
	my $took = time - $start;
	cmp_ok($took, '<', 60, sprintf("%s: %d events took %.1f s", $name, $events, $took)) if $ENV{BACKLOG};
	# Nothing of ours ran while pg_upgrade had the server to itself.
	unlike(slurp_file($_), qr/eventbus (launcher|relay|begins)/, "$name: no worker in $_")
	  for glob $new->data_dir . '/pg_upgrade_output.d/*/log/*server.log';
	$new->append_conf('postgresql.conf', "shared_preload_libraries = 'eventbus'\n") unless $preload;
	$new->start;
	return $new;
}

sub check
{
	my ($new) = @_;
	my $name = $new->name;
	for my $db (sort keys %dump)
	{
		my $dump = dump_of($new, $db);
		next if ok($dump eq $dump{$db}, "$name: the dump of $db is equal");
		append_to_file("$name-$db.$_->[0]", $_->[1]) for [ 'old', $dump{$db} ], [ 'new', $dump ];
		diag `diff $name-$db.old $name-$db.new | head -40`;
	}
	$new->append_conf('postgresql.conf', "eventbus.relay = on\n");
	$new->reload;
	ok($new->poll_query_until('app', "SELECT max(id) = $epoch + 1 FROM eventbus.epoch"), "$name: a new epoch");
	like($new->safe_psql('app', q{SELECT status || detail FROM eb_health() WHERE component = 'epoch'}),
		qr/^warnepoch changed: epoch @{[ $epoch + 1 ]} /, "$name: which eb_health names");
	is($new->safe_psql('app', qq{SELECT eb_emit('order.given', '{}', event_id => '$given'); SELECT eb_once('mail', '$given')}), "$given\nf",
		"$name: ids seen are known");
	my $id = $new->safe_psql('app', q{INSERT INTO sent SELECT eb_emit('order.new', '{}', '1') RETURNING event_id});
	cmp_ok($new->safe_psql('app', qq{SELECT "offset" FROM eb_get('$id')}), '>', $max, "$name: offsets go on above");
	is($new->safe_psql('app', "SELECT eb_ack($receipt)"), 7, "$name: a lease is still held");
	# Filtered out of the subscription idle.
	$new->safe_psql('app', q{INSERT INTO acked SELECT 'idle', e.event_id FROM eventbus.event e WHERE type IN ('order.placed', 'order.made')});
	for my $subscription (qw(fast ordered idle))
	{
		ok(drain($new, 'app', $subscription), "$name: $subscription gets all that was not settled");
		is(ledger($new, 'app', $subscription), '0|0|0', "$name: $subscription: nothing lost, phantom, or twice in the log");
	}
	is($new->safe_psql('app', q{SELECT eb_dlq_replay(subscription => 'idle')}), 3, "$name: dead letters can be replayed");
	is($new->safe_psql('app', q{SELECT count(*) FROM eb_fetch('idle')}), 3, "$name: with their events");
	is($new->safe_psql('app', q{SELECT string_agg(privilege || target, ',' ORDER BY privilege) FROM eb_grants WHERE grantee = 'shop'}),
		'consumeidle,emitorder.*', "$name: grants name the same role");
	is($new->safe_psql('other', q{SELECT count(*) FROM api.eb_fetch('o', wait => '60 s')}), 1, "$name: another database, another schema");
	# What is made at run time still works.
	$new->safe_psql('app', "SELECT count(eb_emit('order.new', '{}')) FROM generate_series(1, $events / 2)");
	is($new->safe_psql('app', q{SELECT count(*) FROM eb_health() WHERE status = 'fail'}), 0, "$name: nothing fails");
	$new->safe_psql('app', 'DROP EXTENSION eventbus CASCADE');
	is($new->safe_psql('app', q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'eventbus'}), 0, "$name: DROP EXTENSION takes all");
	$new->stop;
}

# The copied one finds no library preloaded while pg_upgrade is at work.
check(upgrade('copied', 0)) if $ENV{BACKLOG};
check(upgrade('linked', 1, '--link'));
done_testing();
