
DECLARE
    granting text;
BEGIN
    IF pg_catalog.to_regclass({kept_text}) IS NULL THEN
        RETURN;
    END IF;
    FOR granting IN
        SELECT 'GRANT ' || p.word || coalesce(' (' || (
            SELECT string_agg(pg_catalog.quote_ident(c.name), ', ') FROM unnest(p.columns) AS c (name)
        ) || ')', '') || ' ON ' || p.kind || p.name || ' TO ' || pg_catalog.quote_ident(r.role)
        FROM {kept} AS r
        JOIN (VALUES {privileges}) AS p (place, purpose, word, kind, name, columns) USING (purpose)
        WHERE NOT {held} ORDER BY r.role, p.place
    LOOP
        EXECUTE granting;
    END LOOP;
END
