-- What is known of one row: what was embedded of it and of which text, where it waits, how it failed.
WITH source_first AS ( -- as a TRUNCATE of it takes its locks
    SELECT FROM {source} WHERE false
), asked AS (
    SELECT {asked_key}
), logged AS (
    SELECT min(l.seq) AS seq, min(l.at) AS at FROM {log} AS l JOIN asked AS k ON {log_of_key}
), busy AS (
    SELECT b.worker, b.leased_until, u.* FROM {batch} AS b, unnest({batch_arrays}) AS u ({key_columns})
), held AS (
    SELECT coalesce(u.worker, 'nobody yet') AS worker, u.leased_until FROM busy AS u JOIN asked AS k ON {busy_of_key} LIMIT 1
)
SELECT {blank} AS blank, r.version IS NOT NULL AS stored, coalesce(r.chunks, 0) AS chunks,
       r.input_hash IS DISTINCT FROM {input_hash} AS stale,
       extract(epoch FROM clock_timestamp() - logged.at)::float8 AS logged_seconds,
       (SELECT count(*) FROM (SELECT {key_columns} FROM {log} WHERE seq < logged.seq EXCEPT SELECT {key_columns} FROM busy) AS earlier) AS ahead,
       held.worker, extract(epoch FROM held.leased_until - clock_timestamp())::float8 AS lease_seconds,
       f.dead, f.attempts, f.error_class, f.error,
       extract(epoch FROM f.next_attempt_at - clock_timestamp())::float8 AS retry_seconds,
       i.backfill_since IS NOT NULL
           OR EXISTS (SELECT FROM embedsql.bulk_insert AS m WHERE (m.name, m.generation) = (i.name, i.generation)) AS backfilling,
       i.problem,
       (SELECT count(*) FROM embedsql.worker AS w WHERE w.seen_at > clock_timestamp() - interval '1 minute') AS workers
FROM asked AS k
CROSS JOIN embedsql.semantic_index AS i
JOIN {source} AS s ON {source_of_key}
LEFT JOIN {row} AS r ON {row_of_key}
LEFT JOIN logged ON true
LEFT JOIN held ON true
LEFT JOIN embedsql.failure AS f ON f.index_id = i.index_id AND f.key = {key_json}
WHERE i.name = {index} AND i.generation = {generation}
