CASE
    WHEN p.kind = 'SCHEMA ' THEN pg_catalog.has_schema_privilege({role}, pg_catalog.to_regnamespace(p.name), p.word)
    WHEN p.kind = 'FUNCTION ' THEN pg_catalog.has_function_privilege({role}, pg_catalog.to_regproc(p.name), p.word)
    WHEN p.columns IS NULL THEN pg_catalog.has_table_privilege({role}, pg_catalog.to_regclass(p.name), p.word)
    ELSE (
        SELECT bool_and(pg_catalog.has_column_privilege({role}, a.attrelid, a.attnum, p.word))
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = pg_catalog.to_regclass(p.name) AND a.attname = ANY (p.columns)
    )
END
