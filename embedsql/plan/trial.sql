-- Real chunks with a made-up vector, and made-up weights of their lexemes, which cost what real ones do.
INSERT INTO {chunk} ({key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, terms{vector_columns})
SELECT {key_values}, k.place, 0, substr(sha256(convert_to(k.place::text, 'UTF8')), 1, 16), k.chunk, l.lexemes,
       (SELECT ('{{' || string_agg(n * 90001 + (random() * 90000)::int || ':' || random()::real, ',') || '}}/536870912')::sparsevec
        FROM generate_series(1, length(l.lexemes)) AS n){vector_values}
FROM unnest(%(chunks)s::text[], %(headings)s::text[], {key_arrays}) WITH ORDINALITY
    AS k (chunk, heading, {key_texts}, place)
CROSS JOIN LATERAL (SELECT {lexemes} AS lexemes) AS l
