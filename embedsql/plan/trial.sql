-- Real chunks with a made-up vector, which costs what a real one does.
INSERT INTO {chunk} ({key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes{vector_columns})
SELECT {key_values}, k.place, 0, substr(sha256(convert_to(k.place::text, 'UTF8')), 1, 16), k.chunk, {lexemes}{vector_values}
FROM unnest(%(chunks)s::text[], %(headings)s::text[], {key_arrays}) WITH ORDINALITY
    AS k (chunk, heading, {key_texts}, place)
