-- The first words of some chunks: questions that have an answer, as people might type them.
WITH chosen AS MATERIALIZED (
    SELECT chunk FROM {chunk} TABLESAMPLE {method} (%(percent)s) REPEATABLE (1)
    ORDER BY hashtextextended(chunk, 1) LIMIT %(most)s
)
SELECT array_to_string((regexp_split_to_array(btrim(chunk), '\s+'))[1:6], ' ') FROM chosen
