-- What is wrong and not yet logged is logged; dead letters are left to `dead retry`.
INSERT INTO {log} ({key_columns})
SELECT {key_columns} FROM ({findings}) AS f
WHERE ({key_columns}) NOT IN (SELECT {key_columns} FROM {log})
  AND {key_json} NOT IN (SELECT key FROM embedsql.failure WHERE index_id = %(index_id)s AND dead)
