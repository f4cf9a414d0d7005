# 25: role matrix x every function and table; planted objects, triggers, policies, defaults.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Scenario;

my $s = Scenario->new(25, 'rights');
$s->tap('200_rights');
my $node = $s->node;
$node->safe_psql('postgres', q{
	CREATE ROLE nobody LOGIN; CREATE ROLE consumer LOGIN; CREATE ROLE emitter LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	CREATE ROLE mallory LOGIN; GRANT CREATE ON SCHEMA public TO mallory;
	CREATE EXTENSION eventbus;
	SELECT eb_subscribe('sub', '{order.*}');
	SELECT eb_grant('consume', 'sub', 'consumer'); SELECT eb_grant('emit', 'order.*', 'emitter');
	SELECT eb_emit('order.placed', '{"secret": 1}')});
my $ours = q{JOIN pg_depend d ON d.objid = o.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventbus'};

# Rows of a query that should have none.
sub none
{
	my ($what, $sql) = @_;
	my @rows = split /\n/, $node->safe_psql('postgres', $sql);
	$s->part(!@rows, $what . (@rows ? ': ' . join(', ', @rows[ 0 .. ($#rows > 5 ? 5 : $#rows) ]) : ''));
}

none('PUBLIC executes nothing that can change something',
	"SELECT o.oid::regprocedure FROM pg_proc o $ours WHERE d.classid = 'pg_proc'::regclass AND has_function_privilege('public', o.oid, 'EXECUTE') AND o.provolatile = 'v'");
none('who has nothing granted can execute nothing that can change something',
	"SELECT o.oid::regprocedure FROM pg_proc o $ours WHERE d.classid = 'pg_proc'::regclass AND has_function_privilege('nobody', o.oid, 'EXECUTE') AND o.provolatile = 'v'");
foreach my $role (qw(nobody consumer emitter watcher mallory))
{
	none("$role has no right to write a table or take part in a sequence",
		"SELECT o.oid::regclass || ' ' || p FROM pg_class o, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
		WHERE o.relnamespace = 'eventbus'::regnamespace AND o.relkind IN ('r', 'p', 'v') AND has_table_privilege('$role', o.oid, p)");
	none("$role sees no payload in a table",
		"SELECT o.oid::regclass FROM pg_class o WHERE o.relnamespace = 'eventbus'::regnamespace AND o.relkind IN ('r', 'p')
		AND o.relname ~ '^(event|dead_letter|delivery)' AND has_table_privilege('$role', o.oid, 'SELECT')");
}
none('a SECURITY DEFINER function fixes its search_path',
	"SELECT o.oid::regprocedure FROM pg_proc o $ours WHERE d.classid = 'pg_proc'::regclass AND o.prosecdef AND NOT coalesce(o.proconfig::text LIKE '%search_path=%', false)");
none('row-level security is on nowhere by accident',
	"SELECT o.oid::regclass FROM pg_class o WHERE o.relnamespace = 'eventbus'::regnamespace AND (o.relrowsecurity OR o.relforcerowsecurity)");
none('segments made at run time are as closed as the log',
	"SELECT o.oid::regclass || ' ' || p FROM pg_class o JOIN pg_inherits i ON i.inhrelid = o.oid, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) p
	WHERE i.inhparent = 'eventbus.event'::regclass AND has_table_privilege('public', o.oid, p)");

# What each may call; every call is one that would work with the right.
my $receipt = $node->safe_psql('postgres', "SELECT receipt FROM eb_fetch('sub', wait => '30 s')");
my %calls = (
	emit => "SELECT eb_emit('order.placed', '{}')", emit_other => "SELECT eb_emit('other.one', '{}')",
	fetch => "SELECT count(*) FROM eb_fetch('sub')", ack => "SELECT eb_ack($receipt)", nack => "SELECT eb_nack($receipt)",
	extend => "SELECT eb_extend($receipt)", read => 'SELECT count(*) FROM eb_read(1)', replay => "SELECT eb_replay('sub', 1)",
	subscribe => "SELECT eb_subscribe('mine')", change => "SELECT eb_subscribe('sub', '{>}')", drop => "SELECT eb_unsubscribe('sub')",
	pause => "SELECT eb_pause('sub')", seek => "SELECT eb_seek('sub', 1)", purge => "SELECT eb_dlq_purge(subscription => 'sub')",
	grant => "SELECT eb_grant('consume', 'sub', 'mallory')", type => "SELECT eb_register_type('order.placed', '{}')",
	relay => 'SELECT eb_relay_run()', watch => 'SELECT count(*) FROM eb_stat_bus', health => 'SELECT count(*) FROM eb_health()');
my %may = (nobody => [], mallory => [], consumer => [qw(fetch ack nack extend)], emitter => ['emit'], watcher => [qw(watch health)]);
foreach my $role (sort keys %may)
{
	my @wrong;
	foreach my $call (sort keys %calls)
	{
		my ($rc, $out, $err) = $node->psql('postgres', "BEGIN; SET LOCAL ROLE $role; $calls{$call}; ROLLBACK", on_error_stop => 1);
		my $refused = $rc && $err =~ /permission denied|must be|may not|42501|not allowed/;
		my $allowed = grep { $_ eq $call } @{ $may{$role} };
		push @wrong, "$call: " . ($rc ? (split /\n/, $err)[0] : 'went through') if $allowed ? $rc : !$refused;
	}
	$s->part(!@wrong, "$role may do just " . (join(', ', @{ $may{$role} }) || 'nothing') . join('', map { "; $_" } @wrong));
}

# Planted on our tables: not by those who do not own them; and what an owner of
# other things plants does not run in a worker.
foreach my $sql ('CREATE TRIGGER evil BEFORE INSERT ON eventbus.event FOR EACH ROW EXECUTE FUNCTION public.evil()',
	'CREATE POLICY evil ON eventbus.delivery USING (false)', 'CREATE RULE evil AS ON INSERT TO eventbus.event DO INSTEAD NOTHING',
	'ALTER TABLE eventbus.delivery ENABLE ROW LEVEL SECURITY', "ALTER TABLE eventbus.subscription ALTER paused SET DEFAULT true",
	'CREATE TABLE eventbus.mine ()', 'CREATE TABLE public.child () INHERITS (eventbus.subscription)', 'CREATE FUNCTION eventbus.restored() RETURNS boolean LANGUAGE sql AS $$SELECT true$$',
	'CREATE INDEX ON eventbus.event ((1 / 0))', 'BEGIN; LOCK eventbus.event IN SHARE MODE')
{
	$node->safe_psql('postgres', 'SET ROLE mallory; CREATE OR REPLACE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$');
	my ($rc, $out, $err) = $node->psql('postgres', "SET ROLE mallory; $sql", on_error_stop => 1);
	$s->part(!!($rc && $err =~ /must be owner|permission denied/), "refused: $sql" . ($rc ? '' : ', but it went through'));
}
# Workers: who they are while they touch what users have written.
my $handlers = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_proc WHERE proname = 'eb_handler'});
$s->skip_part('a handler trying SET ROLE or COPY PROGRAM', 'eventbus has no push handlers') if $handlers == 0;
# The only user expression that a worker evaluates is a filter, and jsonpath calls nothing.
$node->safe_psql('postgres', q{SET ROLE mallory; CREATE FUNCTION public.jsonb_path_match(jsonb, jsonpath) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'caught'; END$$});
$node->safe_psql('postgres', q{SELECT eb_subscribe('filtered', '{order.*}', filter => '$.a == 1'); SELECT eb_emit('order.placed', '{"a": 1}')});
$s->wait_for($node, "SELECT queued = 1 FROM eb_stat_subscription WHERE name = 'filtered'");
$s->part(slurp_file($node->logfile) !~ /caught/, 'a planted function did not run in the relay');
$node->stop('fast');
$s->done;
