-- A key that was alone in a worker's hands and took it down three times.
WITH dead AS (
    DELETE FROM {batch} WHERE batch_id = %(batch_id)s RETURNING *
), member AS (
    SELECT {key_columns}, version FROM dead, unnest({dead_arrays}, dead.versions) AS k ({key_columns}, version)
), unlogged AS (
    DELETE FROM {log} AS l USING dead WHERE l.seq = ANY (dead.seqs)
)
INSERT INTO embedsql.failure (index_id, key, version, attempts, dead, error_class, error)
SELECT %(index_id)s, {key_json}, version, (SELECT crashes + 1 FROM dead), true, 'WorkerCrash',
       'the worker died or fell silent each time it held this row alone'
FROM member
ON CONFLICT (index_id, key) DO UPDATE SET version = EXCLUDED.version, attempts = EXCLUDED.attempts,
    dead = true, next_attempt_at = NULL, error_class = EXCLUDED.error_class, error = EXCLUDED.error, since = now()
