INSERT INTO {chunk} AS c
    ({key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes{vector_columns})
SELECT {key_columns}, chunk_seq, start_offset, content_hash, chunk, {lexemes}{vector_values}
FROM unnest({key_parameters}, %(chunk_seqs)b::int[], %(starts)b::int[], %(content_hashes)b::bytea[],
    %(texts)b::text[], %(headings)b::text[], %(embeddings)b::{vector_array})
    AS k ({key_columns}, chunk_seq, start_offset, content_hash, chunk, heading, embedding)
{vector_from}
ON CONFLICT ({key_columns}, chunk_seq) DO UPDATE
    SET start_offset = EXCLUDED.start_offset, content_hash = EXCLUDED.content_hash,
        chunk = EXCLUDED.chunk, lexemes = EXCLUDED.lexemes{vector_updated}
    WHERE (c.content_hash, c.start_offset, c.chunk)
        IS DISTINCT FROM (EXCLUDED.content_hash, EXCLUDED.start_offset, EXCLUDED.chunk)
