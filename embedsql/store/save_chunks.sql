WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest({key_parameters}, %(chunk_seqs)b::int[], %(starts)b::int[], %(content_hashes)b::bytea[],
        %(texts)b::text[], %(headings)b::text[], %(titled)b::int[], %(embeddings)b::{vector_array},
        %(terms)b::text[])
        AS k ({key_columns}, chunk_seq, start_offset, content_hash, chunk, heading, titled, embedding, given_terms)
), made AS MATERIALIZED (
    -- Without the chunks that are stored already: to compute the lexemes of one takes ten times as long
    -- as this comparison. A subquery for each, since an anti-join might read every chunk of the table.
    SELECT k.*, {lexemes} AS lexemes FROM given AS k
    WHERE {words_may_differ} OR {vector_may_differ} OR (
        SELECT (c.content_hash, c.start_offset, c.chunk) = (k.content_hash, k.start_offset, k.chunk)
        FROM {chunk} AS c WHERE {chunk_of_key} AND c.chunk_seq = k.chunk_seq) IS NOT TRUE
)
INSERT INTO {chunk} AS c
    ({key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, terms{vector_columns})
SELECT {key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, {terms}{vector_values}
FROM {average}, made AS k {vector_from}
ON CONFLICT ({key_columns}, chunk_seq) DO UPDATE
    SET start_offset = EXCLUDED.start_offset, content_hash = EXCLUDED.content_hash,
        chunk = EXCLUDED.chunk, lexemes = EXCLUDED.lexemes, terms = EXCLUDED.terms{vector_updated}
    WHERE (c.content_hash, c.start_offset, c.chunk, c.lexemes)
        IS DISTINCT FROM (EXCLUDED.content_hash, EXCLUDED.start_offset, EXCLUDED.chunk, EXCLUDED.lexemes){vector_differs}
