-- Big texts never cross the wire: only the part that will be embedded does, and none of a text
-- whose hash is the one already stored.
WITH claimed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}) WITH ORDINALITY AS k ({key_columns}, place)
)
SELECT c.place::int, s.xmin, h.input_hash, h.unchanged,
       coalesce(octet_length(r.input_hash) = 33, false), -- marked: to be embedded anew
       coalesce(r.chunks, 0), coalesce(r.truncated, false),
       CASE WHEN h.unchanged THEN '' ELSE {text} END,
       CASE WHEN h.unchanged THEN '{{}}' ELSE {context} END,
       CASE WHEN h.unchanged THEN false ELSE {too_long} END
FROM claimed AS c JOIN {source} AS s ON {key_match} LEFT JOIN {row} AS r ON {row_of_claimed}
CROSS JOIN LATERAL (
    -- Since d refers to c and to s, the hash is computed above their join, and OFFSET 0 keeps d from
    -- being merged with what is around it: else the planner may hash every text of the whole source.
    SELECT d.input_hash, d.input_hash IS NOT DISTINCT FROM r.input_hash AND {vector_stays} AS unchanged
    FROM (SELECT {input_hash} AS input_hash WHERE c.place > 0 OFFSET 0) AS d
) AS h
