-- The log still holds a batch's keys, but those of a backfill: they are logged now.
WITH given_back AS (
    DELETE FROM {batch} WHERE batch_id = %(batch_id)s AND worker = %(worker)s RETURNING *
)
INSERT INTO {log} ({key_columns})
SELECT {key_columns}
FROM given_back, unnest({given_back_arrays}, given_back.versions) AS k ({key_columns}, version)
WHERE version = 0
