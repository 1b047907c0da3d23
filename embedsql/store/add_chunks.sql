-- Chunks of rows for which nothing was stored: a plain INSERT, at half the cost of save_chunks.sql, since it looks for no
-- conflicts and materializes nothing in between.
INSERT INTO {chunk}
    ({key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, terms{vector_columns})
SELECT {key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, {terms}{vector_values}
FROM {average}, (
    SELECT k.*, {lexemes} AS lexemes
    FROM (
        SELECT {unnested_key}, unnest(%(chunk_seqs)b::int[]) AS chunk_seq, unnest(%(starts)b::int[]) AS start_offset,
            unnest(%(content_hashes)b::bytea[]) AS content_hash, unnest(%(texts)b::text[]) AS chunk,
            unnest(%(headings)b::text[]) AS heading, unnest(%(titled)b::int[]) AS titled,
            unnest(%(embeddings)b::{vector_array}) AS embedding, unnest(%(terms)b::text[]) AS given_terms
    ) AS k
    OFFSET 0  -- keeps the subquery apart: merged, it would compute the lexemes at each place that uses them
) AS k {vector_from}
