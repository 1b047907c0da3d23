-- Bulk inserts that were noted while a backfill was under way may lie behind its place: another begins, at the first key.
WITH noted AS (
    DELETE FROM embedsql.bulk_insert AS b USING embedsql.semantic_index AS i
    WHERE i.index_id = %(index_id)s AND (i.name, i.generation) = (b.name, b.generation) AND i.backfill_since IS NULL
    RETURNING b.at
), held AS (
    -- Claimed keys: the backfill passes them by, and their worker may have read the text before the bulk insert.
    SELECT k.* FROM {batch} AS b, unnest({batch_arrays}) AS k ({key_columns}) WHERE EXISTS (SELECT FROM noted)
), dead AS (
    -- Dead letters are passed by, too. One that died since the bulk insert may be of a row that was truncated while a worker
    -- had it, and loaded anew. The minute is for one whose transaction had to wait for the TRUNCATE.
    SELECT key FROM embedsql.failure
    WHERE index_id = %(index_id)s AND dead AND since >= (SELECT min(at) FROM noted) - interval '1 minute'
), logged AS (
    INSERT INTO {log} ({key_columns})
    SELECT {key_columns} FROM held UNION ALL SELECT {key_from_json} FROM dead
)
UPDATE embedsql.semantic_index SET backfill_since = (SELECT min(at) FROM noted), backfill_after = NULL
WHERE index_id = %(index_id)s AND EXISTS (SELECT FROM noted)
