SELECT backfill_since IS NOT NULL OR EXISTS (
    SELECT FROM embedsql.bulk_insert AS b WHERE (b.name, b.generation) = (i.name, i.generation))
FROM embedsql.semantic_index AS i WHERE i.index_id = %(index_id)s
