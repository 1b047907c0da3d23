SELECT count(*) FILTER (WHERE finding = 'missing'), count(*) FILTER (WHERE finding = 'stale'),
       count(*) FILTER (WHERE finding = 'orphan'),
       (SELECT count(*) FROM (SELECT DISTINCT {key_columns} FROM {log}) AS logged)
         + (SELECT count(*) FROM embedsql.failure WHERE index_id = %(index_id)s AND next_attempt_at IS NOT NULL),
       (SELECT count(*) FROM embedsql.failure WHERE index_id = %(index_id)s AND dead)
FROM ({findings}) AS f
