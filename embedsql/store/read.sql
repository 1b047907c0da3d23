WITH claimed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}) WITH ORDINALITY AS k ({key_columns}, place)
), current AS MATERIALIZED (
    -- MATERIALIZED, and joined by key: else the planner may hash every text of the whole source
    SELECT c.place, {input_hash} AS input_hash
    FROM claimed AS c JOIN {source} AS s ON {key_match}
), compared AS MATERIALIZED (
    SELECT c.*, h.input_hash, h.input_hash IS NOT DISTINCT FROM r.input_hash AS unchanged,
           coalesce(r.chunks, 0) AS chunks, coalesce(r.truncated, false) AS truncated
    FROM current AS h JOIN claimed AS c USING (place) LEFT JOIN {row} AS r USING ({key_columns})
)
-- Big texts never cross the wire: only the part that will be embedded does, and none of a text
-- whose hash is the one already stored.
SELECT c.place::int, c.input_hash, c.unchanged, c.chunks, c.truncated,
       CASE WHEN c.unchanged THEN '' ELSE {text} END,
       CASE WHEN c.unchanged THEN '{{}}' ELSE {context} END,
       CASE WHEN c.unchanged THEN false ELSE {too_long} END
FROM compared AS c JOIN {source} AS s ON {key_match}
ORDER BY c.place
