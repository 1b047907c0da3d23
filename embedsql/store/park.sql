-- Failed keys leave the log and wait in the failure table, or stay there as dead letters.
-- A version above the recorded one is an edit since, and starts with a clean record.
WITH failed AS MATERIALIZED (
    SELECT *, {key_json} AS key FROM unnest({key_parameters}, %(versions)b::bigint[],
        %(permanent)b::boolean[], %(counted)b::boolean[], %(classes)b::text[], %(errors)b::text[], %(input_hashes)b::bytea[])
        AS k ({key_columns}, version, permanent, counted, error_class, error, input_hash)
), unlogged AS (
    DELETE FROM {log} WHERE seq = ANY (%(seqs)b) AND (({key_columns}) IN (SELECT {key_columns} FROM failed)) IS TRUE
), counted AS (
    SELECT failed.*,
           CASE WHEN old.version >= failed.version THEN old.attempts ELSE 0 END + counted::int AS attempts
    FROM failed LEFT JOIN embedsql.failure AS old ON old.index_id = %(index_id)s AND old.key = failed.key
)
INSERT INTO embedsql.failure AS f
    (index_id, key, version, attempts, dead, next_attempt_at, error_class, error, input_hash)
SELECT %(index_id)s, key, version, attempts, permanent OR (counted AND attempts >= %(max_attempts)s),
       CASE WHEN permanent OR (counted AND attempts >= %(max_attempts)s) THEN NULL
            -- 1, 2, 4, ... seconds up to five minutes, plus up to half as much again
            ELSE now() + least(power(2, greatest(attempts - 1, 0)), 300) * (1 + random() / 2) * interval '1 second' END,
       error_class, error, input_hash
FROM counted
ON CONFLICT (index_id, key) DO UPDATE
    SET version = EXCLUDED.version, attempts = EXCLUDED.attempts, dead = EXCLUDED.dead,
        next_attempt_at = EXCLUDED.next_attempt_at, error_class = EXCLUDED.error_class,
        error = EXCLUDED.error, input_hash = coalesce(EXCLUDED.input_hash, f.input_hash), since = CASE WHEN EXCLUDED.attempts <= 1 THEN now() ELSE f.since END
