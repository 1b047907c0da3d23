-- Only where the text is still the one that was embedded: a row that somebody changed meanwhile is
-- looked at again once its lock is had.
UPDATE {source} AS s SET {column} = c.embedding
FROM unnest({key_parameters}, %(input_hashes)b::bytea[], %(embeddings)b::{vector_array})
    AS c ({key_columns}, input_hash, embedding)
WHERE {key_match} AND {input_hash} = c.input_hash
