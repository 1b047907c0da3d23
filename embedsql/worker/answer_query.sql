WITH answered AS (
    DELETE FROM embedsql.query_request WHERE index_id = %(index_id)s AND digest = %(digest)s
)
INSERT INTO embedsql.query_vector (digest, vector)
VALUES (embedsql.query_digest(%(space)s, %(query)s), %(vector)s::real[])
ON CONFLICT DO NOTHING
