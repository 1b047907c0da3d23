DECLARE
    found pg_catalog.oid;
BEGIN
    FOR found IN
        SELECT p.oid FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname = {schema} AND p.proname = {name}
          AND pg_catalog.obj_description(p.oid, 'pg_proc') = {comment}
    LOOP
        EXECUTE pg_catalog.format('DROP FUNCTION %s', found::pg_catalog.regprocedure);
    END LOOP;
END
