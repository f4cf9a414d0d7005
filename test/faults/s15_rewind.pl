# 15: Kill the primary, promote an asynchronous standby, then pg_rewind.
#
# What was not replicated is gone, with everything that was done to it; the rest
# must be whole, and no offset may stand for two events.  The old primary is
# rewound, follows, and is promoted in its turn.
use strict;
use warnings;
use Checker;
use PostgreSQL::Test::Utils;
use Scenario;

my $s = Scenario->new(15, 'promote an asynchronous standby, then pg_rewind');
my $a = $s->node(name => 'a', init => { allows_streaming => 1 }, conf => "wal_log_hints = on\nwal_keep_size = 512MB\n");
my $load = $s->load($a, lsn => 1);
$a->backup('base');
my $b = PostgreSQL::Test::Cluster->new('b');
$b->init_from_backup($a, 'base', has_streaming => 1);
$b->start;
$load->start;
$s->let_run($a, 500);
# The standby falls behind, so that there is something to lose.
$s->wait_for($a, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'");
my ($receiver) = $s->pids($b, "backend_type = 'walreceiver'");
kill 'STOP', $receiver if $receiver;
$s->let_run($a, 200);
$s->kill_all($a, stopped => 1);
kill 'CONT', $receiver if $receiver;
$b->promote;
$load->point_at($b);
$s->let_run($b, 300);
$s->wait_for($b, 'SELECT lag = 0 FROM eb_stat_bus');
my $failed = $load->stop;
$s->part($failed == 0, 'the load went through');

# What may be gone is what was committed after the timelines part.
my $switch = $b->safe_psql('postgres', q{SELECT pg_read_file('pg_wal/00000002.history')});
($switch) = $switch =~ m{^1\t([0-9A-F/]+)} or die 'no history';
my $checker = Checker->new($load);
$checker->run;
my $n = $checker->{n};
my @behind = grep { my $lsn = $checker->{commit_lsn}{$_};
	$lsn && $b->safe_psql('postgres', "SELECT '$lsn'::pg_lsn <= '$switch'") eq 't' } @{ $checker->{lost} };
$s->count('L', scalar @behind, "transactions that had been replicated: @behind");
$s->count($_, $n->{$_}, "see the log") foreach qw(I D T);
$s->{events} += $checker->events;
$s->part(@{ $checker->{lost} } > 0, scalar(@{ $checker->{lost} }) . " transactions were not replicated, after $switch");
my $epoch = $b->safe_psql('postgres', 'SELECT max(id), max(first_offset) FROM eventbus.epoch WHERE timeline = 2');
$s->part($epoch =~ /^2\|/, "a new epoch: $epoch");

# Back again.
$s->part(run_log([ 'pg_rewind', '--target-pgdata', $a->data_dir, '--source-server', $b->connstr('postgres'), '--no-sync' ]), 'pg_rewind');
my ($port) = $a->port;
$a->append_conf('postgresql.conf', "port = $port\nunix_socket_directories = '" . $a->host . "'\n");
$a->enable_streaming($b);
$a->set_standby_mode;
$a->start;
$s->wait_for($b, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'");
$b->safe_psql('postgres', q{SELECT eb_emit('load.mark', '{}')});
$b->wait_for_catchup($a);
my $log = q{SELECT count(*), md5(string_agg("offset" || ' ' || event_id, ',' ORDER BY "offset")) FROM eventbus.event};
$s->part($a->safe_psql('postgres', $log) eq $b->safe_psql('postgres', $log), 'the rewound log is the new one');
my %seen = map { split /\|/ } split /\n/, $b->safe_psql('postgres', q{SELECT "offset", event_id FROM eventbus.event});
$s->kill_all($b, stopped => 1);
$a->promote;
$s->wait_for($a, "SELECT count(*) = 1 FROM eventbus.epoch WHERE id > 0 AND timeline = 3");
$a->safe_psql('postgres', q{SELECT eb_emit('load.more', '{}') FROM generate_series(1, 50)});
my %now = map { split /\|/ } split /\n/, $a->safe_psql('postgres', q{SELECT "offset", event_id FROM eventbus.event});
$s->count('I', scalar(grep { $seen{$_} && $seen{$_} ne $now{$_} } keys %now), 'offsets used again');
$s->count('L', scalar(grep { !$now{$_} } keys %seen), 'lost by the second promotion');
$s->wait_for($a, 'SELECT lag = 0 FROM eb_stat_bus');
$s->part($a->safe_psql('postgres', q{SELECT count(*) FROM eb_fetch('exact', 100000)}) >= 50, 'and it delivers');
$a->stop('fast');
$s->done;
