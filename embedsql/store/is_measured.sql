SELECT average_length IS NOT NULL FROM embedsql.semantic_index WHERE name = {name} AND generation = {generation}
