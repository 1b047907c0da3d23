ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS as_source ON {table};

-- As its caller: what the source's own policies hide of it is hidden here, too.
CREATE POLICY as_source ON {table} AS PERMISSIVE FOR SELECT
USING (EXISTS (SELECT FROM {source} AS s WHERE {key_match}));
