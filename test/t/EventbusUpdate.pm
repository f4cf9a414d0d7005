# Made-up versions of eventbus, each in an installation of its own, and what an
# installed extension consists of.
package EventbusUpdate;
use strict;
use warnings;
use Exporter 'import';
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;
our @EXPORT = qw(present_version make_version members);

my $tree = "$FindBin::RealBin/../..";

sub present_version
{
	my ($version) = slurp_file("$tree/eventbus.control") =~ /^default_version *= *'(.*)'/m;
	return $version;
}

# A copy of the installation that the test runs with, with another version of eventbus;
# returns its bin folder.  Options: serves, a version whose SQL the library works with, too;
# part, SQL that the version has more than the present one; scripts, { FILE => SQL }.
sub make_version
{
	my ($version, %option) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir("version_$version");
	my ($root, $config) = ("$ENV{EB_WORK}/pg", $ENV{PG_CONFIG});
	# The installation may be a copy already, as that with the seeded bugs is.
	$root = $1 if $config =~ m{^(.*/pg)/} && index($config, "$root/") != 0;
	system('bash', '-c', "cp -al '$root' '$dir/pg' && mkdir '$dir/tree' && cp -a '$tree'/{Makefile,eventbus.control,src,sql} '$dir/tree'") == 0
	  or die 'could not copy the installation';
	my $edit = sub {
		my ($file, $change) = @_;
		local $_ = slurp_file($file);
		$change->();
		unlink $file;
		append_to_file($file, $_);
	};
	my $present = present_version();
	$edit->("$dir/tree/eventbus.control", sub { s/'\Q$present\E'/'$version'/ });
	$edit->("$dir/tree/src/catalog.c", sub { s/\bserved\[\] = \{EB_VERSION/served[] = {EB_VERSION, "$option{serves}"/ or die 'served' }) if $option{serves};
	append_to_file("$dir/tree/sql/98-made-up.sql", $option{part}) if $option{part};
	append_to_file("$dir/tree/sql/$_", $option{scripts}{$_}) for keys %{ $option{scripts} };
	my $new_config = "$dir/pg" . substr($config, length $root);
	my $log = `make -s -C '$dir/tree' with_llvm=no PG_CONFIG='$new_config' install 2>&1`;
	is($?, 0, "built a version $version") or BAIL_OUT($log);
	return $new_config =~ s{/pg_config$}{}r;
}

# Everything that belongs to the extension in a database, a line each, without oids.
sub members
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, <<'SQL');
WITH member AS (
    SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
    WHERE e.extname = 'eventbus' AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
relation AS (
    SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    UNION SELECT c.* FROM pg_class c JOIN pg_type t ON t.typrelid = c.oid JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
    WHERE c.relkind = 'c')
SELECT line FROM (
SELECT format('member %s %s', pg_describe_object(classid, objid, 0), obj_description(objid, classid::regclass::name)) AS line FROM member
UNION ALL SELECT format('function %s %s %s %s', p.oid::regprocedure, md5(pg_get_functiondef(p.oid)), p.proowner::regrole,
       (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(p.proacl) a))
FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
UNION ALL SELECT format('relation %s %s %s %s %s', c.oid::regclass, c.relkind, c.reloptions, c.relowner::regrole,
       (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) a)) FROM relation c
UNION ALL SELECT format('column %s %s %s %s %s %s %s %s', c.oid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
       a.attnotnull, a.attidentity, a.attstorage, pg_get_expr(d.adbin, d.adrelid))
FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT format('constraint %s %s %s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid)) FROM pg_constraint c JOIN relation r ON r.oid = c.conrelid
UNION ALL SELECT format('index %s', pg_get_indexdef(i.indexrelid)) FROM pg_index i JOIN relation r ON r.oid = i.indrelid
UNION ALL SELECT format('trigger %s', pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid
UNION ALL SELECT format('view %s %s', r.oid::regclass, md5(pg_get_viewdef(r.oid))) FROM relation r WHERE r.relkind = 'v'
UNION ALL SELECT format('sequence %s %s %s %s', s.seqrelid::regclass, s.seqincrement, s.seqcache, s.seqmax) FROM pg_sequence s JOIN relation r ON r.oid = s.seqrelid
UNION ALL SELECT format('enum %s %s', e.enumtypid::regtype, string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder))
FROM pg_enum e JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = e.enumtypid GROUP BY e.enumtypid
UNION ALL SELECT format('schema %s %s', n.nspname, n.nspacl) FROM pg_namespace n WHERE n.nspname = 'eventbus'
UNION ALL SELECT format('dumped %s %s', c.oid::regclass, e.extcondition[i])
FROM pg_extension e, generate_subscripts(e.extconfig, 1) i JOIN pg_extension x ON x.extname = 'eventbus'
JOIN pg_class c ON c.oid = x.extconfig[i] WHERE e.extname = 'eventbus'
) l ORDER BY line COLLATE "C"
SQL
}

1;
