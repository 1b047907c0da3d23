-- What is wrong and neither logged nor yet to be backfilled is logged; dead letters are left to `dead retry`. The stored hash
-- is forgotten, else a worker would take a row that lost its chunks for unchanged.
WITH wrong AS MATERIALIZED ({findings}), forgotten AS (
    UPDATE {row} SET input_hash = ''
    WHERE ({key_columns}) IN (SELECT {key_columns} FROM wrong) AND octet_length(input_hash) = 32 -- not marked already
)
INSERT INTO {log} ({key_columns})
SELECT {key_columns} FROM wrong
WHERE ({key_columns}) NOT IN (SELECT {key_columns} FROM {log})
  AND NOT (finding = 'missing' AND NOT in_rows AND ({backfilling}))
  AND {key_json} NOT IN (SELECT key FROM embedsql.failure WHERE index_id = %(index_id)s AND dead)
