SELECT generation FROM embedsql.semantic_index WHERE name = {index}
