WITH claimed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}) WITH ORDINALITY AS k ({key_columns}, place)
), current AS MATERIALIZED (
    SELECT c.place, {input} AS input, {heading} AS heading
    FROM claimed AS c JOIN {source} AS s ON {key_match}
), hashed AS MATERIALIZED (
    SELECT *, sha256(convert_to(input, 'UTF8')) AS input_hash FROM current
)
-- Big texts never cross the wire: only the part that will be embedded does, and none of a text
-- whose hash is the one already stored.
SELECT h.place::int, h.input_hash, h.input_hash IS NOT DISTINCT FROM r.input_hash AS unchanged,
       coalesce(r.chunks, 0), coalesce(r.truncated, false),
       CASE WHEN h.input_hash IS DISTINCT FROM r.input_hash THEN left(h.input, %(most)s) ELSE '' END,
       length(h.input) > %(most)s,
       CASE WHEN h.input_hash IS DISTINCT FROM r.input_hash THEN left(h.heading, %(most)s) ELSE '' END
FROM hashed AS h JOIN claimed AS c USING (place) LEFT JOIN {row} AS r USING ({key_columns})
ORDER BY h.place
