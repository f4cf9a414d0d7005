# A standby is promoted under load, with all of the primary's commits and without:
# nothing acknowledged is lost, no event comes twice, and no offset that anybody has
# seen is given to another event.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EventbusLoad;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# A primary and its standby, with a bus in it.
sub pair
{
	my ($name, $synchronous) = @_;
	my $primary = PostgreSQL::Test::Cluster->new("${name}_primary");
	$primary->init(allows_streaming => 1);
	$primary->append_conf('postgresql.conf', "eventbus.segment_events = 400\n");
	$primary->start;
	$primary->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new("${name}_standby");
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	if ($synchronous)
	{
		$primary->append_conf('postgresql.conf', "synchronous_standby_names = '*'\n");
		$primary->reload;
	}
	$primary->safe_psql('postgres', 'CREATE EXTENSION eventbus');
	install_load($primary, 'postgres');
	$primary->safe_psql('postgres', q{SELECT eb_subscribe('s', lease => '2 s'); SELECT eb_subscribe('idle', lease => '2 s')});
	return ($primary, $standby);
}

# Sessions that emit one event a transaction and print its id once it is committed.
sub start_emitters
{
	my ($node, $n) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir . '/emit.sql';
	append_to_file($file, q{BEGIN; SELECT eb_emit('order.placed', '{"n": 1}') AS id \gset} . "\n" .
		q{INSERT INTO sent VALUES (:'id'); COMMIT;} . "\n" . '\echo :id' . "\n") for 1 .. 20000;
	return map {
		my $h = { out => '' };
		$h->{run} = IPC::Run::start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ],
			'<', \undef, '>', \$h->{out}, '2>', '/dev/null');
		$h
	} 1 .. $n;
}

# What readers have seen: offset => id.
sub seen
{
	my ($node) = @_;
	return map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'SELECT "offset", event_id FROM eb_read(1, 1000000)');
}

# The counters, on the promoted standby.
sub check
{
	my ($name, $node, $acknowledged, $seen, $may_lose) = @_;
	my %log = seen($node);
	my %ids = map { $_ => 1 } values %log;
	my $sent = $node->safe_psql('postgres', 'SELECT event_id FROM sent');
	my @lost = grep { !$ids{$_} } @$acknowledged;
	my @identity = grep { $log{$_} && $log{$_} ne $seen->{$_} } keys %$seen;
	my %sent = map { $_ => 1 } split /\n/, $sent;
	is(scalar(@lost), 0, "$name: L = 0") unless $may_lose;
	is(scalar(grep { !$sent{$_} } keys %ids), 0, "$name: P = 0");
	is(scalar(keys %log) - scalar(keys %ids), 0, "$name: D = 0");
	is(scalar(@identity), 0, "$name: I = 0");
	is(scalar(grep { !$ids{$_} } keys %sent), 0, "$name: T = 0");
}

# --- synchronous: kill the primary in full flow ---
{
	my ($primary, $standby) = pair('sync', 1);
	my @emitters = start_emitters($primary, 3);
	my @consumers = start_load($primary, 'postgres', "CALL consume_on('s')");
	ok($primary->poll_query_until('postgres', 'SELECT count(*) > 1500 FROM sent'), 'a primary in full flow');
	is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'eventbus relay'"), 0, 'no relay on the standby');
	my %seen = seen($primary);
	$primary->stop('immediate');
	$_->{run}->finish for @emitters, @consumers;
	my @acknowledged = map { split /\n/, $_->{out} } @emitters;
	cmp_ok(scalar(@acknowledged), '>', 100, 'emitters have a ledger');

	$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
	$standby->promote;
	ok($standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM eventbus.epoch WHERE timeline = 2"), 'a new epoch on the new timeline');
	check('synchronous', $standby, \@acknowledged, \%seen);
	my $max = $standby->safe_psql('postgres', 'SELECT max("offset") FROM eventbus.event');
	my $id = $standby->safe_psql('postgres', q{INSERT INTO sent SELECT eb_emit('order.new', '{}') RETURNING event_id});
	cmp_ok($standby->safe_psql('postgres', "SELECT \"offset\" FROM eb_get('$id')"), '>', $max + 1000000, 'offsets jump ahead');
	for my $subscription (qw(s idle))
	{
		ok(drain($standby, 'postgres', $subscription), "$subscription gets what was not settled");
		is(ledger($standby, 'postgres', $subscription), '0|0|0', "$subscription: S = 0, nothing twice");
	}
	like($standby->safe_psql('postgres', "SELECT status || detail FROM eb_health() WHERE component = 'epoch'"),
		qr/^warnepoch changed: epoch 2 .*timeline 2/, 'eb_health names the epoch');
	$standby->stop;
}

# --- asynchronous: the last events reach readers, and not the standby ---
{
	my ($primary, $standby) = pair('async', 0);
	$primary->safe_psql('postgres', q{INSERT INTO sent SELECT eb_emit('order.placed', '{}') FROM generate_series(1, 50)});
	$primary->wait_for_catchup($standby);
	$standby->append_conf('postgresql.conf', "primary_conninfo = ''\n");
	$standby->reload;
	ok($primary->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_replication'), 'the standby is cut off');
	$primary->safe_psql('postgres', q{INSERT INTO sent SELECT eb_emit('order.gone', '{}') FROM generate_series(1, 30)});
	my %seen = seen($primary);
	is(scalar(keys %seen), 80, 'readers of the old primary have seen more');
	$primary->stop('immediate');
	$standby->promote;
	$standby->safe_psql('postgres', q{INSERT INTO sent SELECT eb_emit('order.other', '{}') FROM generate_series(1, 30)});
	check('asynchronous', $standby, [], \%seen, 1);
	is($standby->safe_psql('postgres', 'SELECT count(*) FROM eventbus.event'), 80, 'the new primary goes on');
	ok(drain($standby, 'postgres', 's'), 'and delivers');
	ok($standby->poll_query_until('postgres', 'SELECT count(*) = 1 FROM eventbus.epoch WHERE id > 0 AND timeline = 2'), 'in an epoch of its own');
	my $first = $standby->safe_psql('postgres', 'SELECT max(first_offset) FROM eventbus.epoch');
	is($standby->safe_psql('postgres', qq{SELECT count(*) FROM eventbus.event WHERE type = 'order.other' AND "offset" < $first}), 0, 'whose first offset is below all of them');

	# A restart changes nothing; a copy of the database begins another epoch.
	my $last = $standby->safe_psql('postgres', 'SELECT eb_last_offset()');
	$standby->restart;
	is($standby->safe_psql('postgres', 'SELECT eb_last_offset()'), $last, 'a restart keeps the counter');
	is($standby->safe_psql('postgres', 'SELECT eventbus.epoch_state()'), 'current', 'and the epoch');
	$standby->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
	ok($standby->poll_query_until('copy', 'SELECT count(*) = 1 FROM eventbus.epoch WHERE id > 0 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())'), 'a copy of the database begins its own');
	$standby->stop;
}
done_testing();
