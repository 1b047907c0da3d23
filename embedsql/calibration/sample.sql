WITH sampled AS MATERIALIZED (
    SELECT {chunk_key}, {viewed_vector}, c.lexemes, row_number() OVER () AS place
    FROM (SELECT * FROM {chunk} TABLESAMPLE SYSTEM (%(percent)s::float8) ORDER BY random() LIMIT %(most)s) AS c
    {source_join}
), compared AS (
    SELECT {similarity} AS similarity
    FROM sampled AS a JOIN sampled AS b ON b.place = a.place + 1
    WHERE NOT ({same_key})
)
SELECT count(*), avg(similarity), stddev_pop(similarity),
       (SELECT avg(embedsql.text_length(lexemes)) FROM sampled)::float8
FROM compared
