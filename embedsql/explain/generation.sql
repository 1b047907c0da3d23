SELECT generation FROM embedsql.semantic_index
WHERE name = {index} AND CASE WHEN {pinned}::int IS NULL THEN state = 'serving' ELSE generation = {pinned}::int END
