SELECT backfill_after FROM embedsql.semantic_index
WHERE index_id = %(index_id)s AND backfill_since IS NOT NULL
