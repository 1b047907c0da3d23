-- Whatever a DROP of the index's views would have to take with it.
WITH ours AS (
    SELECT pg_catalog.to_regclass(%(index_view)s)::oid AS id UNION ALL SELECT pg_catalog.to_regclass(%(serving_view)s)::oid
)
SELECT DISTINCT pg_catalog.pg_describe_object(
    CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_catalog.pg_class'::regclass END, coalesce(r.ev_class, d.objid), 0)
FROM pg_catalog.pg_depend AS d
LEFT JOIN pg_catalog.pg_rewrite AS r ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.oid = d.objid
WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid IN (SELECT id FROM ours) AND d.deptype = 'n'
  AND coalesce(r.ev_class, 0) NOT IN (SELECT id FROM ours)
ORDER BY 1
