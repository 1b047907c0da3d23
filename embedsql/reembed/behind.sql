-- Keys that this generation still has to deal with and the one that serves has not.
WITH source_first AS ( -- a TRUNCATE of it takes one generation's log after the other's
    SELECT FROM {source} WHERE false
)
SELECT count(*) + (SELECT count(*) FROM embedsql.failure WHERE index_id = %(index_id)s AND next_attempt_at IS NOT NULL)
FROM (
    (SELECT {key_columns} FROM {log} UNION SELECT k.* FROM {batch} AS b, unnest({batch_arrays}) AS k ({key_columns}))
    EXCEPT SELECT {key_columns} FROM {serving_log}
) AS behind
