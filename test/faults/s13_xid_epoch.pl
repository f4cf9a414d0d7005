# 13: pg_resetwal across the xid epoch.
#
# The counter of transactions is moved on in steps that freezing can follow, and
# at last to a few hundred before its wrap, which the load then crosses.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Scenario;

my $s = Scenario->new(13, 'pg_resetwal across the xid epoch');
my $node = $s->node(conf => "autovacuum = off\n");
my $load = $s->load($node)->start;
$s->let_run($node, 200);

sub move
{
	my ($xid, $epoch) = @_;
	$node->stop('fast');
	# The commit log that pg_resetwal does not make.
	my $file = sprintf '%s/pg_xact/%04X', $node->data_dir, $xid >> 20;
	append_to_file($file, "\0" x 262144) unless -e $file;
	$s->part(run_log([ 'pg_resetwal', '-x', $xid, '-e', $epoch, '-D', $node->data_dir ]), "pg_resetwal to epoch $epoch, xid $xid");
	$s->{faults}++;
	$node->start;
}

sub freeze
{
	$node->safe_psql('postgres', 'ALTER DATABASE template0 ALLOW_CONNECTIONS true');
	$s->part(run_log([ 'vacuumdb', '-qaF', '-h', $node->host, '-p', $node->port ]), 'everything is frozen');
}

freeze();
move(2_000_000_000, 0);
$s->let_run($node, 100);
freeze();
move(4_000_000_000, 0);
$s->let_run($node, 100);
freeze();
move(2**32 - 400, 3);
$s->let_run($node, 300);
my $start = time;
# Whoever is slow is helped along: each of these takes a number.
until ($s->ask($node, 'SELECT pg_current_xact_id()::text::bigint >> 32') == 4 || time - $start > 60) { }
$s->part($s->ask($node, 'SELECT pg_current_xact_id()::text::bigint >> 32') == 4, 'the counter went round');
$s->let_run($node, 300);
$s->heal_and_check($load);
$node->stop('fast');
$s->done;
