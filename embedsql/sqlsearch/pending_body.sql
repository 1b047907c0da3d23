
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH newest AS MATERIALIZED (
        -- not further back: of what workers dealt with, dead entries may lie there in any number
        SELECT {key_columns}, seq FROM {log}
        WHERE seq > (SELECT embedsql.last_change({log_name}) - 2000) ORDER BY seq DESC LIMIT 500
    ), changed AS MATERIALIZED (
        SELECT {key_columns} FROM newest GROUP BY {key_columns} ORDER BY max(seq) DESC LIMIT {most_rows}
    ), current AS MATERIALIZED (
        -- looked up row by row: a planner may prefer to read the source whole
        SELECT {changed_key}, now.* FROM changed AS k CROSS JOIN LATERAL (
            SELECT {text} AS chunk, {heading} AS heading, {titled} AS titled, {configuration} AS configuration
            FROM {source} AS s WHERE {key_match} LIMIT 1) AS now
    ), made AS MATERIALIZED (
        SELECT c.*, embedsql.chunk_lexemes(c.configuration, c.heading, c.chunk, c.titled) AS lexemes FROM current AS c
    ), average AS MATERIALIZED (
        SELECT greatest(1, coalesce(
            (SELECT i.average_length FROM embedsql.semantic_index AS i WHERE i.name = {name} AND i.state = 'serving'),
            (SELECT avg(embedsql.text_length(m.lexemes)) FROM made AS m))) AS length
    )
    SELECT {made_key}, concat_ws(E'\n\n', nullif(m.heading, ''), m.chunk), m.lexemes,
           embedsql.bm25_weights(m.lexemes, average.length, {heading_weight})
    FROM made AS m, average;
EXCEPTION WHEN undefined_column OR undefined_table THEN
    RETURN; -- the source is no longer as declared, which is the worker's to tell: what was embedded is found
END
