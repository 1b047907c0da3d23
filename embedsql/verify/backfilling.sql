SELECT backfill_since IS NOT NULL OR EXISTS (SELECT FROM embedsql.bulk_insert AS b WHERE b.index_id = i.index_id)
FROM embedsql.semantic_index AS i WHERE i.index_id = %(index_id)s
