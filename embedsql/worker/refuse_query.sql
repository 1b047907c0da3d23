UPDATE embedsql.query_request SET error = left(%(error)s, 500)
WHERE index_id = %(index_id)s AND digest = %(digest)s
