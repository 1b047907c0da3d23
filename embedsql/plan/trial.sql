-- Real chunks, each so many times, with a made-up vector, and made-up weights of their lexemes,
-- of which most words, that are there once, have the same: so they compress as real ones do.
WITH made AS MATERIALIZED (
    SELECT k.*, {lexemes} AS lexemes
    FROM unnest(%(chunks)s::text[], %(headings)s::text[], {key_arrays}) WITH ORDINALITY
        AS k (chunk, heading, {key_texts}, place)
)
INSERT INTO {chunk} ({key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, terms{vector_columns})
SELECT {key_values}, t.time * 1000000 + k.place, 0, substr(sha256(convert_to(t.time || ' ' || k.place, 'UTF8')), 1, 16),
       k.chunk, k.lexemes,
       (SELECT ('{{' || string_agg(n * 90001 + (random() * 90000)::int || ':' || CASE WHEN mod(n, 8) = 0 THEN random()::real ELSE 0.7731 END, ',') || '}}/536870912')::sparsevec
        FROM generate_series(1, length(k.lexemes)) AS n){vector_values}
FROM generate_series(1, %(times)s::int) AS t (time), made AS k
