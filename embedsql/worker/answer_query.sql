WITH answered AS (
    DELETE FROM embedsql.query_request WHERE index_id = %(index_id)s AND digest = %(digest)s
)
INSERT INTO embedsql.query_vector (digest, vector, terms)
VALUES (
    sha256(sha256(convert_to(%(space)s, 'UTF8')) || convert_to(%(query)s, 'UTF8')), %(vector)s::real[],
    %(terms)s::text
)
ON CONFLICT DO NOTHING
