-- What model changes have left beside this generation.
SELECT embedsql.drop_generation(index_id) FROM embedsql.semantic_index
WHERE name = {name} AND generation <> {generation};
