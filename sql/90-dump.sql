-- What pg_dump saves of ours: the rows of every static table, and where the sequences stand.  Segments of the log
-- and partitions of dedup are no members of the extension; they are dumped as ordinary tables.
DO $$
DECLARE
    relation record;
BEGIN
    FOR relation IN
        SELECT c.oid::regclass AS name,
               CASE c.relname WHEN 'epoch' THEN 'WHERE id > 0'
                   -- The oid of a role that was dropped is another role's elsewhere.
                   WHEN 'privilege' THEN 'WHERE grantee IN (SELECT oid FROM pg_catalog.pg_roles)'
                   ELSE '' END AS rows
        FROM pg_class c
        WHERE c.relnamespace = 'eventbus'::regnamespace AND c.relkind IN ('r', 'S')
    LOOP
        PERFORM pg_extension_config_dump(relation.name, relation.rows);
    END LOOP;
END
$$;
