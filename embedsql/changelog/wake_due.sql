-- Failed keys whose wait is over go back into the log. Their version becomes the new sequence, so
-- that a later claim can tell this retry from an edit, which would start afresh. No wait is longer than ten minutes: one that
-- seems to be began before the server's clock was set back.
WITH due AS MATERIALIZED (
    SELECT key FROM embedsql.failure
    WHERE index_id = %(index_id)s AND next_attempt_at NOT BETWEEN now() AND now() + interval '10 minutes'
    ORDER BY next_attempt_at LIMIT 1000 FOR UPDATE SKIP LOCKED
), logged AS (
    INSERT INTO {log} ({key_columns}) SELECT {key_from_json} FROM due RETURNING {key_columns}, seq
)
UPDATE embedsql.failure AS f SET next_attempt_at = NULL, version = logged.seq
FROM logged WHERE f.index_id = %(index_id)s AND f.key = {key_json}
