-- Of a row whose text the model refuses, remove the vector if it was made of an earlier text, or came with another row
-- that bears the key now.
UPDATE {source} AS s SET {column} = NULL
FROM unnest({key_parameters}, %(content_hashes)b::bytea[]) AS k ({key_columns}, content_hash)
WHERE {source_of_key} AND s.{column} IS NOT NULL AND NOT EXISTS (
    SELECT FROM {chunk} AS c
    WHERE {chunk_of_key} AND {vector_is_own} AND c.content_hash IN (k.content_hash, '\x00'::bytea || k.content_hash))
