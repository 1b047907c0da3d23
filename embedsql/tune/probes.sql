-- The source comes first, as in a TRUNCATE of it: the other way round, the two could deadlock.
SELECT {key_values}, c.embedding::real[]
FROM {source} AS s JOIN (
    SELECT {key_columns}, chunk_seq FROM {chunk} TABLESAMPLE {method} (%(percent)s) REPEATABLE (1)
    ORDER BY hashint8extended(chunk_seq, 1) # hashtextextended(concat_ws(' ', {key_columns}), 1) LIMIT %(most)s
) AS k ON {key_match} JOIN {chunk_view} AS c ON {same_chunk} AND c.chunk_seq = k.chunk_seq
WHERE c.embedding IS NOT NULL
