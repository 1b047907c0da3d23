-- Give a batch up. Keys that were claimed from the log are still there. Those that a backfill found (version 0) are logged now.
WITH given_back AS (
    DELETE FROM {batch} WHERE batch_id = %(batch_id)s AND worker = %(worker)s RETURNING *
)
INSERT INTO {log} ({key_columns})
SELECT {key_columns}
FROM given_back, unnest({given_back_arrays}, given_back.versions) AS k ({key_columns}, version)
WHERE version = 0
