# 10: savepoint rollbacks, EXCEPTION blocks, 65 and 10,000 subtransactions, nested.
use strict;
use warnings;
use Scenario;

my $s = Scenario->new(10, 'savepoints, EXCEPTION blocks, many and nested subtransactions');
my $node = $s->node;
$node->safe_psql('postgres', q{
	CREATE EXTENSION eventbus;
	CREATE TABLE other (tx text, i int);
	CREATE FUNCTION emit_both(t text, i int) RETURNS void LANGUAGE sql AS $$
		SELECT eb_emit('sub.one', jsonb_build_object('tx', t, 'i', i)); INSERT INTO other VALUES (t, i) $$;
	-- One after another; each k-th fails.
	CREATE PROCEDURE flat(t text, n int, k int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			BEGIN
				PERFORM emit_both(t, i);
				IF i % k = 0 THEN PERFORM 1 / 0; END IF;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
	END $$;
	-- One in another; from level "down to" on all is rolled back.
	CREATE FUNCTION nested(t text, level int, depth int, broken int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM emit_both(t, level);
		IF level < depth THEN
			BEGIN
				PERFORM nested(t, level + 1, depth, broken);
				IF level = broken THEN PERFORM 1 / 0; END IF;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END IF;
		PERFORM emit_both(t, 100000 + level);
	END $$});

my $n = 0;
sub transaction
{
	my ($sql) = @_;
	$n++;
	$sql =~ s/TX/'$n'/g;
	$node->safe_psql('postgres', "SET max_stack_depth = '2MB'; SET client_min_messages = warning; $sql");
	$s->{faults}++;
}

transaction("CALL flat(TX, 65, 2)");
transaction("CALL flat(TX, 10000, 3)");
transaction("CALL flat(TX, 10000, 1)");
transaction("SELECT nested(TX, 1, 65, $_)") foreach 1, 30, 64, 1000;
transaction("SELECT nested(TX, 1, 100, 50)");
foreach my $round (1 .. ($s->{short} || $s->{seconds} < 20 ? 20 : 200))
{
	my ($sql, @open) = ('BEGIN;');
	foreach my $i (1 .. 30)
	{
		my $r = rand;
		if ($r < 0.3) { push @open, "s$i"; $sql .= "SAVEPOINT s$i;"; }
		elsif ($r < 0.45 && @open) { my $k = int rand @open; $sql .= "ROLLBACK TO $open[$k];"; splice @open, $k + 1; }
		elsif ($r < 0.55 && @open) { my $k = int rand @open; $sql .= "RELEASE $open[$k];"; splice @open, $k; }
		else { $sql .= "SELECT emit_both(TX, $i);"; }
	}
	transaction($sql . (rand() < 0.8 ? 'COMMIT' : 'ROLLBACK'));
}
# 10,000 savepoints, open at once, half of them rolled back.
transaction('BEGIN;' . join('', map { "SAVEPOINT a; SELECT emit_both(TX, $_);" . ($_ == 5000 ? 'SAVEPOINT b;' : '') } 1 .. ($s->{short} ? 2000 : 10000)) . ($s->{short} ? 'COMMIT' : 'ROLLBACK TO b; COMMIT'));

# The other rows are what the server itself makes of it.
my $log = q{(SELECT payload->>'tx' AS tx, (payload->>'i')::int AS i FROM eventbus.event)};
my ($missing) = split /\n/, $node->safe_psql('postgres', "SELECT count(*) FROM (SELECT * FROM other EXCEPT ALL SELECT * FROM $log e) x");
my ($extra) = split /\n/, $node->safe_psql('postgres', "SELECT count(*) FROM (SELECT * FROM $log e EXCEPT ALL SELECT * FROM other) x");
$s->{events} = $node->safe_psql('postgres', 'SELECT count(*) FROM eventbus.event');
$s->count('T', $missing, 'rows are there, their events are not');
$s->count('P', $extra, 'events are there, their rows are not');
$s->part($s->{events} > 10000, "$s->{events} events of $n transactions");
$node->stop('fast');
$s->done;
