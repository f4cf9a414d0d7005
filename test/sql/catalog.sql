-- House rules that the catalog can check.

-- Every function has a comment.
SELECT p.oid::regprocedure AS without_comment
FROM pg_depend d
JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass
  AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'eventbus')
  AND d.deptype = 'e'
  AND obj_description(p.oid, 'pg_proc') IS NULL
ORDER BY 1;

-- What changes state is not for PUBLIC.
SELECT p.oid::regprocedure AS volatile_and_public
FROM pg_depend d
JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass
  AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'eventbus')
  AND d.deptype = 'e'
  AND p.provolatile = 'v'
  AND has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1;

-- No right on a table for PUBLIC, and none but SELECT on anything.
SELECT c.oid::regclass AS relation, a.privilege_type
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'eventbus'::regnamespace
  AND a.grantee = 0
  AND (c.relkind IN ('r', 'p', 'S') OR a.privilege_type <> 'SELECT')
ORDER BY 1, 2;

-- Every setting has a description, and its prefix is reserved.
SELECT name AS without_description
FROM pg_settings
WHERE name LIKE 'eventbus.%' AND coalesce(short_desc, '') = ''
ORDER BY 1;
SET eventbus.no_such_setting = 1;
