# What somebody has planted before CREATE EXTENSION, or plants later, never runs
# with more rights than his, and default privileges give nothing away.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rights');
$node->init;
$node->start;

# A role that may create in public, in the schema that the extension goes to.
$node->safe_psql('postgres', q{
	CREATE ROLE mallory LOGIN;
	CREATE ROLE friend;
	GRANT CREATE ON SCHEMA public TO mallory;
	CREATE TABLE public.caught (what text, who name DEFAULT current_user);
	GRANT INSERT, SELECT ON public.caught TO PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO friend;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, friend;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO friend;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO friend;
});
$node->safe_psql('postgres', q{
	SET ROLE mallory;
	CREATE FUNCTION public.evil(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.caught VALUES ('operator'); RETURN true; END$$;
	CREATE FUNCTION public.evil_text(text, text) RETURNS text LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.caught VALUES ('concat'); RETURN $1; END$$;
	CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.caught VALUES ('now'); RETURN clock_timestamp(); END$$;
	CREATE FUNCTION public.format(text, bigint) RETURNS text LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.caught VALUES ('format'); RETURN 'x'; END$$;
	CREATE FUNCTION public.count(anyelement) RETURNS bigint LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.caught VALUES ('count'); RETURN 1; END$$;
	CREATE OPERATOR public.= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = public.evil);
	CREATE OPERATOR public.<> (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = public.evil);
	CREATE OPERATOR public.>= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = public.evil);
	CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = public.evil_text);
	CREATE OPERATOR public.+ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.evil_text);
});

# Objects of our names: the installation must fail rather than take them over.
for my $planted ('FUNCTION public.eb_unsubscribe(name text) RETURNS boolean LANGUAGE sql AS $$SELECT true$$',
	'VIEW public.eb_stat_bus AS SELECT 1 AS x',
	'TYPE public.eb_reason AS ENUM (\'x\')')
{
	my ($kind, $name) = $planted =~ /^(\w+) (public\.\w+)/;
	$node->safe_psql('postgres', "SET ROLE mallory; CREATE $planted");
	my ($rc, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION eventbus');
	isnt($rc, 0, "a planted $kind of our name stops the installation");
	like($err, qr/already exists/, 'with a clear error');
	$node->safe_psql('postgres', "DROP $kind $name");
}

$node->safe_psql('postgres', 'CREATE EXTENSION eventbus');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_catalog.pg_depend d JOIN pg_proc p ON p.oid = d.refobjid
	WHERE d.refclassid = \'pg_proc\'::regclass AND p.proowner = \'mallory\'::regrole AND d.objid NOT IN (SELECT oid FROM pg_operator)'),
	0, 'nothing of ours refers to a planted function');
is( $node->safe_psql('postgres', q{
	SELECT count(*) FROM pg_proc p WHERE p.proname ~ '^eb_' AND has_function_privilege('friend', p.oid, 'EXECUTE')
	   AND NOT has_function_privilege('public', p.oid, 'EXECUTE')}),
	0, 'default privileges for functions do not apply');
is( $node->safe_psql('postgres', q{
	SELECT count(*) FROM pg_class c WHERE relnamespace = 'eventbus'::regnamespace AND relkind IN ('r', 'p')
	   AND (has_table_privilege('friend', c.oid, 'SELECT') OR has_table_privilege('mallory', c.oid, 'SELECT'))}),
	0, 'nor for tables');
is($node->safe_psql('postgres', q{SELECT has_schema_privilege('friend', 'eventbus', 'USAGE')}), 'f', 'nor for schemas');

# Used by a superuser with public in his path, by the relay, and by the watcher.
$node->safe_psql('postgres', q{
	SELECT eb_subscribe('s', filter => '$.n > 0 && $type == "a.b"');
	SELECT eb_emit('a.b', '{"n": 1}');
	SELECT eb_grant('consume', 's', 'friend')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eb_fetch('s')}), 'the bus works');
$node->safe_psql('postgres', q{
	SELECT eb_nack(receipt, reason => 'ValidationFailed') FROM (SELECT (eventbus.delivery.seq << 16 | (token & 65535)) AS receipt FROM eventbus.delivery) r;
	SELECT * FROM eb_health(); SELECT * FROM eb_metrics(); SELECT * FROM eb_stat_subscription; SELECT * FROM eb_stat_consumer;
	SELECT eb_dlq_replay(subscription => 's'); SELECT eb_revoke('consume', 's', 'friend')});
# count(*) and = in the statements above are the caller's own; ours are pinned.
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT what, ',') FROM public.caught}), '', 'nothing that was planted ran');

# Later: no trigger, rule, policy or index of his on our tables.
for my $attempt (
	'CREATE TRIGGER t BEFORE INSERT ON eventbus.delivery FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE RULE r AS ON INSERT TO eventbus.delivery DO INSTEAD NOTHING',
	'CREATE POLICY p ON eventbus.delivery',
	'ALTER TABLE eventbus.delivery ENABLE ROW LEVEL SECURITY',
	'CREATE INDEX i ON eventbus.subscription (public.evil(name, name))',
	'CREATE TABLE eventbus.event_1 (x int)',
	'SELECT eventbus.change_privilege(false, \'emit\', \'>\', \'mallory\', 10)',
	'SELECT eventbus.announce()')
{
	my ($rc, $out, $err) = $node->psql('postgres', "SET ROLE mallory; $attempt");
	like($err, qr/permission denied/, "refused: $attempt");
}

# A row policy of the superuser's own making does not hide events from the relay.
$node->safe_psql('postgres', 'ALTER TABLE eventbus.delivery ENABLE ROW LEVEL SECURITY; ALTER TABLE eventbus.subscription ENABLE ROW LEVEL SECURITY');
$node->safe_psql('postgres', q{SELECT eb_emit('a.b', '{"n": 2}')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eb_fetch('s') f WHERE (f.payload->>'n')::int = 2}), 'row-level security stops nothing');

# The install script takes nothing over.
my $share = `$ENV{PG_CONFIG} --sharedir 2>/dev/null` || `pg_config --sharedir`;
chomp $share;
for my $script (glob "$share/extension/eventbus--*.sql")
{
	my $sql = slurp_file($script);
	$sql =~ s/--.*$//mg;
	unlike($sql, qr/\b(OR\s+REPLACE|IF\s+NOT\s+EXISTS)\b/i, "no CREATE OR REPLACE, no IF NOT EXISTS in the script");
	like($sql, qr/^\s*(\\echo.*\n\s*)?SET LOCAL search_path TO pg_catalog, pg_temp;/, 'and it begins with a safe search_path');
}
$node->stop;
done_testing();
