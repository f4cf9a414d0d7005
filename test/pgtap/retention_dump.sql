-- Whatever table or sequence of ours is static is saved by pg_dump.
BEGIN;
SELECT plan(3);
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'eventbus'::regnamespace AND c.relkind IN ('r', 'S')
    AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'eventbus' AND c.oid = ANY (e.extconfig))$$,
    'every table and sequence is marked for pg_dump');
SELECT eb_emit('order.placed', '{}') \g /dev/null
SELECT is_empty($$SELECT i.inhrelid::regclass FROM pg_inherits i JOIN pg_depend d ON d.objid = i.inhrelid AND d.classid = 'pg_class'::regclass
    WHERE i.inhparent IN ('eventbus.event'::regclass, 'eventbus.dedup'::regclass) AND d.deptype = 'e'$$, 'partitions are no members of the extension');
SELECT is_empty($$SELECT indexrelid::regclass FROM pg_index WHERE indrelid IN ('eventbus.event'::regclass, 'eventbus.dedup'::regclass, 'eventbus.once'::regclass)$$,
    'and their indexes are their own');
SELECT * FROM finish();
ROLLBACK;
