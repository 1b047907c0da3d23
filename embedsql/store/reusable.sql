-- One vector for each hash, however many chunks have it.
SELECT h.content_hash, v.embedding, v.given_terms
FROM unnest(%(hashes)b::bytea[]) AS h (content_hash)
CROSS JOIN LATERAL (
    SELECT c.embedding, {terms} AS given_terms FROM {chunk_view} AS c
    WHERE c.content_hash = h.content_hash AND c.embedding IS NOT NULL LIMIT 1
) AS v
WHERE EXISTS (SELECT FROM embedsql.semantic_index WHERE index_id = {index_id})  -- if it was dropped, another index may have its tables' names
