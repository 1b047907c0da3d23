WITH chosen AS MATERIALIZED (
    SELECT {key_columns}, chunk_seq FROM {chunk} TABLESAMPLE {method} (%(percent)s) REPEATABLE (1)
    ORDER BY hashint8extended(chunk_seq, 1) # hashtextextended(concat_ws(' ', {key_columns}), 1) LIMIT %(most)s
)
SELECT {key_values}, c.embedding::real[]
FROM chosen AS k JOIN {chunk_view} AS c USING ({key_columns}, chunk_seq)
JOIN {source} AS s ON {key_match}
WHERE c.embedding IS NOT NULL
