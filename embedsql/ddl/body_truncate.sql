
BEGIN
    TRUNCATE {log}, {row}, {chunk};
    DELETE FROM embedsql.failure AS f USING embedsql.semantic_index AS i
    WHERE f.index_id = i.index_id AND i.name = {name} AND i.generation = {generation};
    RETURN NULL;
END
