-- Dead letters back into the log, with a clean record.
WITH dead AS MATERIALIZED (
    SELECT key FROM embedsql.failure WHERE index_id = %(index_id)s AND dead FOR UPDATE
), logged AS (
    INSERT INTO {log} ({key_columns}) SELECT {key_from_json} FROM dead RETURNING {key_columns}, seq
)
UPDATE embedsql.failure AS f SET dead = false, attempts = 0, version = logged.seq
FROM logged WHERE f.index_id = %(index_id)s AND f.key = {key_json}
