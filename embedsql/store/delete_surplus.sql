-- Chunks beyond a row's new count: all of them where the row is gone or blank.
DELETE FROM {chunk} AS c
USING unnest({key_parameters}, %(chunk_counts)b::int[]) AS k ({key_columns}, chunks)
WHERE {chunk_of_key} AND c.chunk_seq >= k.chunks
