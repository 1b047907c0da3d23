UPDATE embedsql.query_request AS r
SET claimed_until = clock_timestamp() + %(lease)s * interval '1 second'
FROM (
    SELECT index_id, digest FROM embedsql.query_request
    WHERE error IS NULL AND (claimed_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 minute') IS NOT TRUE
    ORDER BY asked_at LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
) AS waiting
WHERE (r.index_id, r.digest) = (waiting.index_id, waiting.digest)
RETURNING r.index_id, r.digest, r.query
