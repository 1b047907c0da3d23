-- The source first, as a TRUNCATE of it does before its trigger empties our tables.
LOCK TABLE {source} IN ACCESS SHARE MODE;

WITH turn AS (
    -- two workers may come at once: the row lock lets one of them do it
    UPDATE embedsql.semantic_index SET backfill_pending = false
    WHERE name = {name} AND backfill_pending RETURNING index_id
)
INSERT INTO {log} ({key_columns}) SELECT {source_key} FROM {source} AS s
WHERE EXISTS (SELECT FROM turn) AND ({source_key}) NOT IN (SELECT {key_columns} FROM {log});
