CREATE EXTENSION IF NOT EXISTS vector;

-- By dblink the search functions ask a running worker for a query's vector. All else does without.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'dblink' AND installed_version IS NULL) THEN
        CREATE EXTENSION IF NOT EXISTS dblink;
    END IF;
EXCEPTION WHEN OTHERS THEN
    NULL; -- not this role's to create: the search functions say what they lack
END $$;
