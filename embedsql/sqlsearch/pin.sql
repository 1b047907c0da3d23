BEGIN
    EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path = %s', {signature}::pg_catalog.regprocedure, (
        SELECT pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ' ORDER BY place, name)
        FROM (
            SELECT n.nspname AS name, pg_catalog.min(found.place) AS place
            FROM (
                SELECT 1 AS place, 'pg_catalog'::pg_catalog.regnamespace::oid AS oid
                UNION ALL SELECT 2, extnamespace FROM pg_catalog.pg_extension WHERE extname = 'vector'
                UNION ALL SELECT 3, t.typnamespace
                FROM pg_catalog.pg_index AS i
                JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
                WHERE i.indisprimary AND i.indrelid = {source}::pg_catalog.regclass
                UNION ALL SELECT 4, {schema}::pg_catalog.regnamespace
            ) AS found JOIN pg_catalog.pg_namespace AS n ON n.oid = found.oid
            GROUP BY n.nspname
        ) AS pinned
    ) || ', pg_temp');
END
