# ALTER EXTENSION UPDATE under load, library and SQL of different versions, both
# ways, and that an updated extension is what a fresh installation makes.  Every
# script in sql/released is updated; the versions after the present one are made up.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EventbusLoad;
use EventbusUpdate;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = "$FindBin::RealBin/../..";
my $present = present_version();
my ($next, $after) = ("$present.1", "$present.2");
my $part = q{
CREATE TABLE eventbus.made_up (id int PRIMARY KEY, note text);
COMMENT ON TABLE eventbus.made_up IS 'of a later version';
SELECT pg_catalog.pg_extension_config_dump('eventbus.made_up', '');
CREATE FUNCTION @extschema@.eb_made_up() RETURNS text LANGUAGE sql RETURN 'made up';
COMMENT ON FUNCTION @extschema@.eb_made_up() IS 'of a later version';
REVOKE ALL ON FUNCTION @extschema@.eb_made_up() FROM PUBLIC;
};
my $update = $part . 'SELECT eventbus.announce();';
my ($same) = `pg_config --bindir` =~ /(.*)/;
# The next version serves this one's SQL; the one after it only its own.
my $newer = make_version($next, serves => $present, part => $part, scripts => { "eventbus--$present--$next.sql" => $update });
my $newest = make_version($after, part => $part, scripts => {
	"eventbus--$present--$next.sql" => $update, "eventbus--$next--$after.sql" => 'SELECT eventbus.announce();' });

my $node = PostgreSQL::Test::Cluster->new('update');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = off\nlog_min_messages = log\n");

sub start_with
{
	my ($bindir) = @_;
	$node->stop if defined $node->{_pid};
	local $ENV{PATH} = "$bindir:$ENV{PATH}";
	$node->start;
}

sub health
{
	my ($component) = @_;
	return $node->safe_psql('postgres', "SELECT status || ': ' || concat(detail, '; ', hint) FROM eb_health() WHERE component = '$component'");
}

# Every entry point fails with the same words, and only fails.
sub refused
{
	my ($what, $hint) = @_;
	for my $call (q{SELECT eb_emit('a.b', '{}')}, q{SELECT eb_fetch('s')}, 'SELECT eb_ack(1)', q{SELECT eb_nack(1)}, q{SELECT eb_subscribe('t')},
		'SELECT eb_read(1)', 'SELECT eb_last_offset()', q{SELECT eb_replay('s', 1)}, 'TABLE eb_stat_bus', 'SELECT eb_relay_run()',
		q{SELECT eb_grant('emit', 'a.b', 'pg_monitor')}, q{SELECT eb_register_type('a.b', '{}')}, 'SELECT eb_metrics()', 'SELECT eb_dlq_replay()')
	{
		my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$call");
		like($err, qr/ERROR:  55000: the library of eventbus has version .*HINT:  $hint/s, "$what: $call");
	}
}

# --- an update under load ---
start_with($same);
$node->safe_psql('postgres', 'CREATE EXTENSION eventbus');
is(health('version'), "ok: library $present, extension $present; ", 'eb_health shows the versions');
install_load($node, 'postgres');
$node->safe_psql('postgres', q{SELECT eb_subscribe('s'); SELECT eb_subscribe('idle')});
$node->safe_psql('postgres', q{INSERT INTO sent SELECT eb_emit('order.placed', '{}') FROM generate_series(1, 100)});
start_with($newer);
like(health('version'), qr/^warn: library \Q$next\E, extension \Q$present\E; .*ALTER EXTENSION/, 'a newer library serves, and eb_health advises');
my @load = start_load($node, 'postgres', 'CALL produce()', 'CALL produce()', q{CALL consume_on('s')});
ok($node->poll_query_until('postgres', 'SELECT count(*) > 600 FROM sent'), 'a bus in full flow');
$node->safe_psql('postgres', 'ALTER EXTENSION eventbus UPDATE');
my $sent = $node->safe_psql('postgres', 'SELECT count(*) FROM sent');
ok($node->poll_query_until('postgres', "SELECT count(*) > $sent + 300 FROM sent"), 'which goes on after an update');
is(stop_load($node, 'postgres', @load), '', 'neither producers nor consumers noticed');
is($node->safe_psql('postgres', 'SELECT eb_made_up()'), 'made up', 'the update is there');
is(health('version'), "ok: library $next, extension $next; ", 'eb_health agrees');
for my $subscription (qw(s idle))
{
	ok(drain($node, 'postgres', $subscription), "$subscription gets everything");
	is(ledger($node, 'postgres', $subscription), '0|0|0', "$subscription: nothing lost, phantom, or twice in the log");
}
my $updated = members($node, 'postgres');
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION eventbus');
is($updated, members($node, 'fresh'), 'updated, the extension is what a fresh installation makes');
cmp_ok(scalar(split /\n/, $updated), '>', 300, 'and that was compared');

# --- the SQL is older than the library can bear ---
$node->safe_psql('postgres', q{INSERT INTO sent SELECT eb_emit('order.placed', '{}') FROM generate_series(1, 10)});
start_with($newest);
refused('newer library', 'Run ALTER EXTENSION eventbus UPDATE');
like(health('version'), qr/^fail: library \Q$after\E, extension \Q$next\E/, 'eb_health says so');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'eventbus relay'}), 'the relay gives up for now');
$node->safe_psql('postgres', 'ALTER EXTENSION eventbus UPDATE');
$node->safe_psql('postgres', q{INSERT INTO sent SELECT eb_emit('order.placed', '{}')});
ok(drain($node, 'postgres', 's'), 'after the update it is at work at once');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal/, 'no crash');

# --- the library is older than the SQL ---
start_with($same);
refused('older library', "Install the library of version \Q$after\E, if that is not done, and restart the server");
like(health('version'), qr/^fail: library \Q$present\E, extension \Q$after\E/, 'eb_health says so');
my ($rc, $out, $err) = $node->psql('postgres', "DROP EXTENSION eventbus CASCADE; CREATE EXTENSION eventbus; SELECT eb_emit('a.b', '{}')");
is($rc, 0, 'DROP EXTENSION works all the same') or diag $err;
$node->stop;

# New files are there, and the server was not restarted.
my ($library) = `$same/pg_config --pkglibdir` =~ /(.*)/;
my ($to) = `$newest/pg_config --pkglibdir` =~ /(.*)/;
unlink "$to/eventbus.so";
link "$library/eventbus.so", "$to/eventbus.so" or die $!;
start_with($newest);
(undef, undef, $err) = $node->psql('postgres', '\set VERBOSITY verbose' . "\nALTER EXTENSION eventbus UPDATE");
like($err, qr/55000: the library of eventbus has version \Q$present\E, and the extension version /, 'an update that the loaded library does not serve is refused');
ok($node->safe_psql('postgres', q{SELECT eb_emit('a.b', '{}')}), 'and the bus goes on as it was');
$node->stop;

# --- every released version ---
for my $script (glob "$tree/sql/released/eventbus--*.sql")
{
	my ($version) = $script =~ /--(.*)\.sql$/;
	next if $version eq $present;
	my $bin = make_version($present, scripts => { "eventbus--$version.sql" => slurp_file($script) });
	my ($share) = `$bin/pg_config --sharedir` =~ /(.*)/;
	append_to_file("$share/extension/eventbus--$version.sql", slurp_file($script));
	start_with($bin);
	$node->safe_psql('postgres', 'CREATE DATABASE released');
	$node->safe_psql('released', "CREATE EXTENSION eventbus VERSION '$version'; ALTER EXTENSION eventbus UPDATE");
	$node->safe_psql('postgres', 'CREATE DATABASE present');
	$node->safe_psql('present', 'CREATE EXTENSION eventbus');
	is(members($node, 'released'), members($node, 'present'), "from $version, released");
	$node->safe_psql('postgres', "DROP DATABASE $_") for qw(released present);
	$node->stop;
}
done_testing();
