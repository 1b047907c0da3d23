-- What transactions noted while a backfill was under way needs another one, from the first key.
WITH noted AS (
    DELETE FROM embedsql.bulk_insert AS b USING embedsql.semantic_index AS i
    WHERE b.index_id = %(index_id)s AND i.index_id = b.index_id AND i.backfill_since IS NULL
    RETURNING b.at
), held AS (
    -- The backfill passes these by, and whoever has them may have read what was there before. What an earlier backfill
    -- found (version 0) is logged where it is left undone.
    INSERT INTO {log} ({key_columns})
    SELECT {key_columns} FROM {batch} AS b, unnest({batch_arrays}, b.versions) AS k ({key_columns}, version)
    WHERE k.version > 0 AND EXISTS (SELECT FROM noted)
)
UPDATE embedsql.semantic_index SET backfill_since = (SELECT min(at) FROM noted), backfill_after = NULL
WHERE index_id = %(index_id)s AND EXISTS (SELECT FROM noted)
