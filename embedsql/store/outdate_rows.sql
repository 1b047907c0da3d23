-- Rows that another transaction holds, where nothing is stored of the text that was read: what was stored of another is
-- forgotten.
WITH held AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}, %(seen)b::xid[], %(input_hashes)b::bytea[]) WITH ORDINALITY
        AS k ({key_columns}, seen, input_hash, place)
), found AS MATERIALIZED (
    SELECT c.* FROM held AS c JOIN {source} AS s ON {key_match} LEFT JOIN {row} AS r ON {row_of_claimed}
    WHERE ((s.xmin = c.seen AND s.xmin <> '0'::xid) OR {input_hash} = c.input_hash)
      AND (r.input_hash IN (c.input_hash, '\x00'::bytea || c.input_hash)) IS NOT TRUE
), forgotten AS (
    DELETE FROM {row} AS r USING found AS f WHERE {row_of_found}
)
SELECT place::int FROM found
