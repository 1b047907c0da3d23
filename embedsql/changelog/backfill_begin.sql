-- What transactions noted while a backfill was under way needs another one, from the first key.
WITH noted AS (
    DELETE FROM embedsql.bulk_insert AS b USING embedsql.semantic_index AS i
    WHERE b.index_id = %(index_id)s AND i.index_id = b.index_id AND i.backfill_since IS NULL
    RETURNING b.at
)
UPDATE embedsql.semantic_index SET backfill_since = (SELECT min(at) FROM noted), backfill_after = NULL
WHERE index_id = %(index_id)s AND EXISTS (SELECT FROM noted)
