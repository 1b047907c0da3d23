-- Vectors of texts that a row has no more, and of whose text the model makes none.
UPDATE {source} AS s SET {column} = NULL
FROM unnest({key_parameters}, %(content_hashes)b::bytea[]) AS k ({key_columns}, content_hash)
WHERE {source_of_key} AND s.{column} IS NOT NULL AND NOT EXISTS (
    SELECT FROM {chunk} AS c
    WHERE {chunk_of_key} AND c.content_hash IN (k.content_hash, '\x00'::bytea || k.content_hash))
