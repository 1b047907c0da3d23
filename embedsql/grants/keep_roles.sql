DROP TABLE IF EXISTS {kept};

-- Who can work on an index, or search it, that the same session is about to drop.
CREATE TEMPORARY TABLE {kept} AS
SELECT r.rolname AS role, p.purpose
FROM pg_catalog.pg_roles AS r, (VALUES {privileges}) AS p (place, purpose, word, kind, name, columns)
WHERE r.oid IN (
    SELECT a.grantee FROM pg_catalog.pg_class AS c, LATERAL pg_catalog.aclexplode(c.relacl) AS a
    WHERE c.oid = pg_catalog.to_regclass({chunk_view}) AND a.grantee <> c.relowner
)
GROUP BY r.rolname, p.purpose HAVING bool_and({held});
