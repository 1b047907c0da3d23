SELECT DISTINCT ON (content_hash) content_hash, embedding, {terms} FROM {chunk_view}
WHERE content_hash = ANY (%(hashes)b::bytea[]) AND embedding IS NOT NULL
