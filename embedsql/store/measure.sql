-- All BM25 weights of an index assume one average length of a chunk: that of the first batch, until it is calibrated.
UPDATE embedsql.semantic_index AS i SET average_length = greatest(1, m.length)
FROM (
    SELECT avg(embedsql.text_length({lexemes})) AS length
    FROM unnest({key_parameters}, %(texts)b::text[], %(headings)b::text[], %(titled)b::int[])
        AS k ({key_columns}, chunk, heading, titled)
) AS m
WHERE i.name = {name} AND i.generation = {generation} AND i.average_length IS NULL
