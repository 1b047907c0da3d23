-- What transactions noted while a backfill was under way needs another one, from the first key.
WITH noted AS (
    DELETE FROM embedsql.bulk_insert AS b USING embedsql.semantic_index AS i
    WHERE b.index_id = %(index_id)s AND i.index_id = b.index_id AND i.backfill_since IS NULL
    RETURNING b.at
), held AS (
    -- The backfill passes these by, and whoever has them may have read what was there before.
    SELECT k.* FROM {batch} AS b, unnest({batch_arrays}) AS k ({key_columns}) WHERE EXISTS (SELECT FROM noted)
), dead AS (
    -- These, too, and what died since may have been in hand when its row was truncated. The minute is for a death whose
    -- transaction waited for the one that truncated.
    SELECT key FROM embedsql.failure
    WHERE index_id = %(index_id)s AND dead AND since >= (SELECT min(at) FROM noted) - interval '1 minute'
), logged AS (
    INSERT INTO {log} ({key_columns})
    SELECT {key_columns} FROM held UNION ALL SELECT {key_from_json} FROM dead
)
UPDATE embedsql.semantic_index SET backfill_since = (SELECT min(at) FROM noted), backfill_after = NULL
WHERE index_id = %(index_id)s AND EXISTS (SELECT FROM noted)
