# 4: Power loss: a base backup, and the WAL cut at random bytes past the last acknowledged one.
#
# The backup is recovered as often as the WAL is cut.  Consumers have ended before
# the first byte that may be missing, so that what they settled is never in doubt.
# CUTS=n times, with synchronous_commit on and off.
use strict;
use warnings;
use Checker;
use EbSession;
use PostgreSQL::Test::Utils;
use Scenario;

my $segment = 16 * 1024 * 1024;
my $s = Scenario->new(4, 'power loss: WAL cut at random bytes');
my $cuts = $ENV{CUTS} || 3;

sub bytes { my ($hi, $lo) = split m{/}, $_[0]; return hex($hi) * 2**32 + hex $lo }
sub lsn { my ($bytes) = @_; return sprintf '%X/%X', int($bytes / 2**32), $bytes % 2**32 }
sub file { my ($n) = @_; return sprintf '%08X%08X%08X', 1, int($n / 256), $n % 256 }

# The WAL of a dead server up to a byte; what comes after it is zero.
sub copy_wal
{
	my ($from, $to, $cut) = @_;
	my $last = int($cut / $segment);
	foreach my $path (glob $from->data_dir . '/pg_wal/0*')
	{
		my ($name) = $path =~ m{/([0-9A-F]{24})$} or next;
		next if $name gt file($last);
		my $wal = slurp_file($path);
		substr($wal, $cut % $segment) = "\0" x ($segment - $cut % $segment) if $name eq file($last);
		my $target = $to->data_dir . "/pg_wal/$name";
		unlink $target;
		append_to_file($target, $wal);
	}
}

# Consumes what is left, and compares with what was settled before the cut.
sub check_settled
{
	my ($node, $c) = @_;
	$s->count($_, 0) foreach qw(S F);
	foreach my $name (sort keys %Load::subscriptions)
	{
		my %seen = map { $_ => 1 } keys %{ $c->{settled}{$name} // {} }, grep { $c->{open}{$name}{$_} } keys %{ $c->{open}{$name} // {} };
		my $deadline = time + 60;
		until (time > $deadline)
		{
			my @rows = split /\n/, $node->safe_psql('postgres', qq{WITH f AS MATERIALIZED (SELECT * FROM eb_fetch('$name', 10000)),
				a AS MATERIALIZED (SELECT eb_ack(receipt) FROM (SELECT DISTINCT receipt FROM f) r) SELECT event_id FROM f, (SELECT count(*) FROM a) n});
			foreach (@rows)
			{
				$s->count('F', 1, "$name: $_ came again after it was settled") if $c->{settled}{$name}{$_};
				$seen{$_} = 1;
			}
			last if !@rows && $node->safe_psql('postgres', "SELECT count(*) FROM eventbus.delivery d JOIN eventbus.subscription s ON s.id = d.subscription_id WHERE s.name = '$name'") eq '0'
			  && $node->safe_psql('postgres', 'SELECT lag FROM eb_stat_bus') eq '0';
			select undef, undef, undef, 0.1 unless @rows;
		}
		my @missing = grep { $Load::subscriptions{$name}{wants}->($_) && !$seen{ $_->{id} } } @{ $c->{in_order} };
		$s->count('S', scalar @missing, "$name: offset $missing[0]{offset} and others") if @missing;
	}
}

sub power_loss
{
	my ($what, %option) = @_;
	my $node = $s->node(name => $what, init => { allows_streaming => 1 }, conf => "wal_keep_size = 1GB\nmax_wal_size = 2GB\nwal_recycle = off\n");
	my $load = $s->load($node, lsn => 1, %option);
	$load->start;
	$s->let_run($node, 200);
	$node->backup('base');
	$s->let_run($node, 300);
	# The consumers end, and only then comes what may be lost.
	$load->flag('drained');
	my $failed = EbSession::wait_children(@{ delete $load->{consumer_pids} });
	my $sure = bytes($node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()'));
	$s->wait_for($node, sprintf "SELECT pg_current_wal_flush_lsn() >= '%s'", lsn($sure));
	$s->let_run($node, 200);
	my $end = bytes($node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()'));
	$s->kill_all($node, stopped => 1);
	$failed += $load->stop_producers;
	$s->part($failed == 0, "$what: the load went through");

	my $lost = 0;
	for my $n (1 .. $cuts)
	{
		my $cut = $n == $cuts ? $end : $sure + int rand($end - $sure);
		my $new = PostgreSQL::Test::Cluster->new("${what}_$n");
		$new->init_from_backup($node, 'base');
		copy_wal($node, $new, $cut);
		$new->start;
		$load->point_at($new);
		my $c = Checker->new($load);
		$c->{n} = { map { $_ => 0 } @Checker::counters };
		$c->{lost} = [];
		$c->read_ledger;
		$c->read_log;
		$c->check_transactions;
		$c->check_reader;
		my @behind = grep { $c->{commit_lsn}{$_} && bytes($c->{commit_lsn}{$_}) <= $cut } @{ $c->{lost} };
		$c->{n}{L} = @behind;
		$lost += @{ $c->{lost} } + grep { $c->{outcome}{$_} eq 'async' && !$c->{tx}{$_} } keys %{ $c->{outcome} };
		$s->count($_, $c->{n}{$_}, "$what, cut at " . lsn($cut) . ': ' . join '; ', @{ $c->{found} }) foreach qw(L P D I T O R);
		check_settled($new, $c);
		$s->{events} += $c->events;
		my $errors = '';
		my $clean = IPC::Run::run([ 'pg_amcheck', '--install-missing', '--heapallindexed', '-h', $new->host, '-p', $new->port, 'postgres' ], '>&', \$errors);
		$s->part($clean, "$what: pg_amcheck is content after a cut at " . lsn($cut)) or $s->fact($errors);
		$new->safe_psql('postgres', q{SELECT eb_emit('load.more', '{}')});
		$new->stop('fast');
		$new->clean_node;
	}
	$s->fact(sprintf '%s: %d cuts between %s and %s, %d transactions past them', $what, $cuts, lsn($sure), lsn($end), $lost);
}

power_loss('sync');
power_loss('async', async => 1);
$s->done;
