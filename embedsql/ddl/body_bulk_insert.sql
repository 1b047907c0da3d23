
BEGIN
    INSERT INTO embedsql.bulk_insert (index_id)
    SELECT index_id FROM embedsql.semantic_index WHERE name = {name} AND generation = {generation};
    {wake}
    RETURN NULL;
END
