# Producers and consumers with a ledger of their own, for tests that move or break a bus.
#
# Every emitted id is in table sent, every acknowledged one in acked, each written in the event's own transaction.
package EventbusLoad;
use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils;
our @EXPORT = qw(install_load start_load stop_load drain ledger);

sub install_load
{
	my ($node, $db) = @_;
	$node->safe_psql($db, <<'SQL');
CREATE TABLE sent (event_id uuid PRIMARY KEY);
CREATE TABLE acked (subscription text, event_id uuid, PRIMARY KEY (subscription, event_id));
CREATE TABLE stop ();
CREATE PROCEDURE produce() LANGUAGE plpgsql AS $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_class WHERE relname = 'stopped') LOOP
        INSERT INTO sent SELECT public.eb_emit('order.placed', '{"n": 1}', (random() * 10)::int::text) FROM generate_series(1, 3);
        COMMIT;
        PERFORM pg_sleep(0.002);    -- a steady load, not a race
    END LOOP;
END $$;
CREATE PROCEDURE consume(subscription text, OUT n int) LANGUAGE plpgsql AS $$
DECLARE
    receipts bigint[];
    ids uuid[];
BEGIN
    SELECT array_agg(DISTINCT f.receipt), array_agg(f.event_id) INTO receipts, ids FROM public.eb_fetch(subscription, 500) f;
    INSERT INTO public.acked SELECT subscription, i FROM unnest(ids) i;
    PERFORM public.eb_ack(r) FROM unnest(receipts) r;
    n := COALESCE(cardinality(ids), 0);
END $$;
CREATE PROCEDURE consume_on(subscription text) LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_class WHERE relname = 'stopped') LOOP
        CALL public.consume(subscription, n);
        COMMIT;
    END LOOP;
END $$;
CREATE PROCEDURE consume_all(subscription text, OUT total int) LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    total := 0;
    LOOP
        CALL public.consume(subscription, n);
        COMMIT;
        EXIT WHEN n = 0;
        total := total + n;
    END LOOP;
END $$;
SQL
}

# Starts sessions, each with one statement that goes on until stop_load.
sub start_load
{
	my ($node, $db, @sql) = @_;
	return map {
		my $h = { out => '' };
		$h->{run} = IPC::Run::start(
			[ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-c', $_ ],
			'<', \undef, '>', \$h->{out}, '2>&1');
		$h
	} @sql;
}

sub stop_load
{
	my ($node, $db, @handles) = @_;
	$node->safe_psql($db, 'CREATE TABLE stopped ()');
	$_->{run}->finish for @handles;
	$node->safe_psql($db, 'DROP TABLE stopped');
	return join '', map { $_->{out} } @handles;
}

# Consumes until the ledger says that a subscription has seen everything; false after a while.
sub drain
{
	my ($node, $db, $subscription) = @_;
	for (1 .. 30 * 10)
	{
		next if $node->safe_psql($db, "CALL consume_all('$subscription', NULL)") > 0;
		return 1 if (split /\|/, ledger($node, $db, $subscription))[0] == 0;
		select undef, undef, undef, 0.1;
	}
	print STDERR $node->safe_psql($db, "SELECT 'missing', e.type, count(*), min(e.\"offset\"), max(e.\"offset\") FROM sent s LEFT JOIN eventbus.event e USING (event_id)
		WHERE NOT EXISTS (SELECT FROM acked a WHERE a.event_id = s.event_id AND a.subscription = '$subscription') GROUP BY 2"), "\n",
		$node->safe_psql($db, "SELECT * FROM eventbus.delivery LIMIT 20"), "\n",
		$node->safe_psql($db, "SELECT * FROM eventbus.progress ORDER BY position DESC LIMIT 5"), "\n";
	return 0;
}

# lost | phantom | duplicate ids in the log, for one subscription
sub ledger
{
	my ($node, $db, $subscription) = @_;
	return $node->safe_psql($db, qq{
		SELECT (SELECT count(*) FROM sent s WHERE NOT EXISTS (SELECT FROM acked a WHERE a.event_id = s.event_id AND a.subscription = '$subscription')
		            AND NOT EXISTS (SELECT FROM eventbus.dead_letter d WHERE d.event_id = s.event_id AND d.subscription = '$subscription')),
		       (SELECT count(*) FROM acked a WHERE NOT EXISTS (SELECT FROM sent s WHERE s.event_id = a.event_id)),
		       (SELECT count(*) - count(DISTINCT event_id) FROM eventbus.event)});
}

1;
