SELECT count(*) FROM embedsql.failure AS n
WHERE n.index_id = %(index_id)s AND n.dead AND NOT EXISTS (
    SELECT FROM embedsql.failure AS s WHERE s.index_id = %(serving_id)s AND s.key = n.key AND s.dead)
