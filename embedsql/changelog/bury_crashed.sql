-- A key that was alone in a worker's hands and took it down three times. What was stored of a text that it has no
-- more is forgotten: nobody will embed the one it has.
WITH dead AS (
    DELETE FROM {batch} WHERE batch_id = %(batch_id)s RETURNING *
), member AS (
    SELECT {key_columns}, {key_json} AS key, version FROM dead, unnest({dead_arrays}, dead.versions) AS k ({key_columns}, version)
), unlogged AS (
    DELETE FROM {log} AS l USING dead WHERE l.seq = ANY (dead.seqs)
), outdated AS MATERIALIZED (
    SELECT {key_columns} FROM member AS k
    WHERE NOT EXISTS (
        SELECT FROM {row} AS r JOIN {source} AS s ON {source_of_key}
        WHERE {row_of_key} AND r.input_hash IN ({input_hash}, '\x00'::bytea || {input_hash}))
      AND NOT EXISTS ( -- the model refused it before, and it is found by its words
        SELECT FROM embedsql.failure AS f JOIN {source} AS s ON {source_of_key}
        WHERE f.index_id = %(index_id)s AND f.key = k.key AND f.input_hash = {input_hash})
), emptied AS (
    DELETE FROM {chunk} AS c USING outdated AS k WHERE {chunk_of_key}
), forgotten AS (
    DELETE FROM {row} AS r USING outdated AS k WHERE {row_of_key}
)
INSERT INTO embedsql.failure (index_id, key, version, attempts, dead, error_class, error)
SELECT %(index_id)s, key, version, (SELECT crashes + 1 FROM dead), true, 'WorkerCrash',
       'the worker died or fell silent each time it held this row alone'
FROM member AS k WHERE EXISTS (SELECT FROM {source} AS s WHERE {source_of_key})
ON CONFLICT (index_id, key) DO UPDATE SET version = EXCLUDED.version, attempts = EXCLUDED.attempts,
    dead = true, next_attempt_at = NULL, error_class = EXCLUDED.error_class, error = EXCLUDED.error, since = now()
