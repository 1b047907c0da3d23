SELECT count(*) FILTER (WHERE finding = 'missing'), count(*) FILTER (WHERE finding = 'stale'),
       count(*) FILTER (WHERE finding = 'orphan'),
       (SELECT count(*) FROM (SELECT DISTINCT {key_columns} FROM {log}) AS logged)
         + (SELECT count(*) FROM embedsql.failure WHERE index_id = %(index_id)s AND next_attempt_at IS NOT NULL)
         + (SELECT count(*) FROM (SELECT {source_key_as_own} FROM {source} AS s) AS k
            WHERE ({backfilling}) AND NOT EXISTS (SELECT FROM {row} AS r WHERE {row_of_key})
              AND NOT EXISTS (SELECT FROM {log} AS l WHERE {log_of_key})
              AND {key_json} NOT IN (SELECT key FROM embedsql.failure WHERE index_id = %(index_id)s)),
       (SELECT count(*) FROM embedsql.failure WHERE index_id = %(index_id)s AND dead)
FROM ({findings}) AS f
