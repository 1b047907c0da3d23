DELETE FROM embedsql.query_vector
WHERE seq <= (SELECT max(seq) FROM embedsql.query_vector) - %(kept)s
