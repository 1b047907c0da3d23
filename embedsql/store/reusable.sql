SELECT DISTINCT ON (content_hash) content_hash, embedding FROM {chunk}
WHERE content_hash = ANY (%(hashes)b)
