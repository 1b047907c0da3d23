-- Every object in two schemas, as the server itself spells it. pg_catalog alone is in the search_path
-- meanwhile, so that all names come out qualified.
SELECT 'columns' AS kind, c.relname::text AS name, string_agg(
    format('%s %s%s', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' NOT NULL' END),
    ', ' ORDER BY a.attname) AS definition
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = to_regnamespace(:own) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY c.relname
UNION ALL
SELECT 'constraints', c.relname::text, string_agg(pg_get_constraintdef(k.oid), ', ' ORDER BY pg_get_constraintdef(k.oid))
FROM pg_class AS c JOIN pg_constraint AS k ON k.conrelid = c.oid
WHERE c.relnamespace = to_regnamespace(:own) AND c.relkind IN ('r', 'p') AND k.contype IN ('p', 'u', 'c', 'f')
GROUP BY c.relname
UNION ALL
SELECT 'index', x.relname::text, pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
WHERE x.relnamespace IN (to_regnamespace(:own), to_regnamespace(:source)) AND NOT i.indisprimary
UNION ALL
SELECT 'view', c.relname::text, concat(array_to_string(c.reloptions, ','), ' ', pg_get_viewdef(c.oid))
FROM pg_class AS c
WHERE c.relnamespace IN (to_regnamespace(:own), to_regnamespace(:source)) AND c.relkind = 'v'
UNION ALL
SELECT 'function', format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)), concat(pg_get_functiondef(p.oid),
    CASE WHEN EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee = 0) THEN ' PUBLIC' END)
FROM pg_proc AS p
WHERE p.prokind = 'f' AND (p.pronamespace = to_regnamespace(:own) OR p.pronamespace = to_regnamespace(:source) AND p.proname = :index)
UNION ALL
SELECT 'trigger', t.tgname::text, pg_get_triggerdef(t.oid) || ' ENABLED ' || t.tgenabled::text
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE c.relnamespace = to_regnamespace(:source) AND c.relname = :table AND p.pronamespace = to_regnamespace(:own)
  AND p.proname = ANY (CAST(:trigger_functions AS text[]))
UNION ALL
SELECT 'source_column', a.attname::text, format_type(a.atttypid, a.atttypmod)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = to_regnamespace(:source) AND c.relname = :table AND a.attnum > 0 AND NOT a.attisdropped
