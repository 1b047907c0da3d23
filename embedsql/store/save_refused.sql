-- Chunks of rows of which the model refused some: with a vector where there is one, else to be found by their words alone. A
-- chunk whose content is unchanged keeps the vector that it has, even where a new one was asked for (requeue).
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest({key_parameters}, %(chunk_seqs)b::int[], %(starts)b::int[], %(content_hashes)b::bytea[],
        %(texts)b::text[], %(headings)b::text[], %(titled)b::int[], %(embeddings)b::{vector_array},
        %(terms)b::text[])
        AS k ({key_columns}, chunk_seq, start_offset, content_hash, chunk, heading, titled, embedding, given_terms)
), made AS MATERIALIZED (
    SELECT k.*, {lexemes} AS lexemes FROM given AS k
)
INSERT INTO {chunk} AS c
    ({key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, terms{vector_columns})
SELECT {key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, {terms}{vector_values}
FROM {average}, made AS k {vector_from}
ON CONFLICT ({key_columns}, chunk_seq) DO UPDATE
    SET start_offset = EXCLUDED.start_offset, chunk = EXCLUDED.chunk, lexemes = EXCLUDED.lexemes,
        content_hash = CASE WHEN {stands} AND NOT {vector_given} THEN c.content_hash ELSE EXCLUDED.content_hash END,
        terms = coalesce(EXCLUDED.terms, CASE WHEN {stands} THEN c.terms END){vector_kept}
