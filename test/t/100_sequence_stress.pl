# Decision 1 under load: writers, some of them rolled back, some with savepoints,
# against readers that follow the safe offset.  Counted: late or lost, duplicated,
# phantom and torn events, and pairs in the wrong order; all must be zero.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $writers = 6;
my $transactions = $ENV{EB_STRESS_TRANSACTIONS} // 400;    # of each writer
my $node = PostgreSQL::Test::Cluster->new('stress');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\neventbus.segment_events = 1000\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION eventbus;
	CREATE TABLE ledger (seq bigserial PRIMARY KEY, event_id uuid, saw uuid, xid xid8 DEFAULT pg_current_xact_id());
	CREATE TABLE finished (writer int);
	CREATE TABLE seen (reader int, "offset" bigint, event_id uuid);
	SELECT eb_subscribe('all');

	-- One transaction in five is rolled back; one in three loses a savepoint; the second
	-- event of some is emitted by an exception's handler.
	CREATE PROCEDURE write(me int, transactions int) LANGUAGE plpgsql AS $$
	DECLARE
		latest uuid;
		dice float;
	BEGIN
		FOR i IN 1 .. transactions LOOP
			dice := random();
			SELECT event_id INTO latest FROM ledger ORDER BY seq DESC LIMIT 1;
			INSERT INTO ledger (event_id, saw) SELECT eb_emit('stress.a', to_jsonb(me)), latest FROM generate_series(1, 1 + (dice * 3)::int);
			IF dice < 0.3 THEN
				BEGIN
					PERFORM eb_emit('stress.phantom', to_jsonb(me));
					INSERT INTO ledger (event_id) VALUES (gen_random_uuid());
					RAISE division_by_zero;
				EXCEPTION WHEN division_by_zero THEN
					INSERT INTO ledger (event_id, saw) SELECT eb_emit('stress.b', to_jsonb(me)), latest;
				END;
			END IF;
			IF random() < 0.2 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
		INSERT INTO finished VALUES (me);
	END $$;

	-- Reads on from where it was until it has been past all of it once more.
	CREATE PROCEDURE follow(me int, all_writers int) LANGUAGE plpgsql AS $$
	DECLARE
		position bigint := 0;
		safe bigint;
		last boolean := false;
	BEGIN
		LOOP
			last := (SELECT count(*) FROM finished) = all_writers;
			COMMIT;
			safe := eb_last_offset();
			INSERT INTO seen SELECT me, "offset", event_id FROM eb_read(position + 1, 1000000) WHERE "offset" <= safe;
			position := safe;
			COMMIT;
			EXIT WHEN last;
		END LOOP;
	END $$;
});

my @writers = map { Session->new($node) } 1 .. $writers;
my @readers = map { Session->new($node) } 1 .. 2;
$readers[$_ - 1]->send("CALL follow($_, $writers)") for 1 .. @readers;
$writers[$_ - 1]->send("CALL write($_, $transactions)") for 1 .. @writers;
is($_->result, '', 'a writer ended well') for @writers;
is($_->result, '', 'a reader ended well') for @readers;

sub none
{
	my ($sql, $name) = @_;
	is($node->safe_psql('postgres', "SELECT count(*) FROM ($sql) x"), '0', $name);
}
my $events = $node->safe_psql('postgres', 'SELECT count(*) FROM eventbus.event');
cmp_ok($events, '>', $writers * $transactions, "$events events in the log");
none('SELECT event_id FROM ledger EXCEPT SELECT event_id FROM eventbus.event', 'lost');
none('SELECT event_id FROM eventbus.event EXCEPT SELECT event_id FROM ledger', 'phantom');
none('SELECT event_id FROM eventbus.event GROUP BY 1 HAVING count(*) > 1', 'event ids twice in the log');
none('SELECT "offset" FROM eventbus.event GROUP BY 1 HAVING count(*) > 1', 'offsets twice in the log');
none('SELECT reader, r.event_id FROM (SELECT generate_series(1, 2) AS reader) g, eventbus.event r EXCEPT SELECT reader, event_id FROM seen',
	'events that a reader has passed and never seen');
none('SELECT event_id FROM seen EXCEPT SELECT event_id FROM eventbus.event', 'events that were read and are not there');
none('SELECT reader, "offset" FROM seen GROUP BY 1, 2 HAVING count(*) > 1', 'events that were read twice');
none('SELECT FROM ledger l JOIN eventbus.event b ON b.event_id = l.event_id JOIN eventbus.event a ON a.event_id = l.saw WHERE a."offset" >= b."offset"',
	'pairs in the wrong order');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM ledger WHERE saw IS NOT NULL'), '>', $transactions, 'with pairs to look at');
none('SELECT xid FROM ledger JOIN eventbus.event USING (event_id) GROUP BY 1 HAVING max("offset") - min("offset") <> count(*) - 1',
	'transactions whose events are not side by side');
is($node->safe_psql('postgres', 'SELECT max("offset") - count(*) FROM eventbus.event'), '0', 'no gaps, since no commit failed');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'eventbus.event'::regclass}), '>', 2, 'over several segments');

# The subscription has got the same.
$node->safe_psql('postgres', q{
	CREATE TABLE got (event_id uuid);
	DO $$ DECLARE n int; BEGIN LOOP
		WITH f AS MATERIALIZED (SELECT * FROM eb_fetch('all', 10000, wait => '1 s')), g AS (INSERT INTO got SELECT event_id FROM f)
		SELECT sum(eb_ack(receipt)) INTO n FROM (SELECT DISTINCT receipt FROM f) r;
		COMMIT;
		EXIT WHEN (SELECT count(*) FROM got) >= (SELECT count(*) FROM eventbus.event) OR n IS NULL;
	END LOOP; END $$});
none('SELECT event_id FROM eventbus.event EXCEPT ALL SELECT event_id FROM got', 'missing in the subscription');
none('SELECT event_id FROM got EXCEPT ALL SELECT event_id FROM eventbus.event', 'delivered twice');
none('SELECT FROM eventbus.delivery', 'left in the queue');
$_->close for @writers, @readers;
$node->stop;
done_testing();
