CREATE OR REPLACE FUNCTION {function}(
    {query} text, {k} int DEFAULT 10, {mode} text DEFAULT {default_mode}, {vector} vector DEFAULT NULL, {wait_ms} int DEFAULT embedsql.default_wait_ms(),
    {terms} sparsevec DEFAULT NULL
) RETURNS TABLE ({columns})
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10 AS {body};

REVOKE ALL ON FUNCTION {function}(text, int, text, vector, int, sparsevec) FROM PUBLIC;

COMMENT ON FUNCTION {function}(text, int, text, vector, int, sparsevec) IS {comment};

-- Pins the search_path, so that the caller's does not matter: pgvector, the key's types and the source are found where they
-- are now.
DO {pin};
