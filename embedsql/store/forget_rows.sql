-- Rows of whose text no vector is had, where it is still the one that was read: what was stored of another is forgotten,
-- so that nobody takes them for unchanged.
WITH failed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}, %(seen)b::xid[], %(input_hashes)b::bytea[]) WITH ORDINALITY
        AS k ({key_columns}, seen, input_hash, place)
), found AS MATERIALIZED (
    SELECT c.* FROM failed AS c JOIN {source} AS s ON {key_match}
    WHERE (s.xmin = c.seen AND s.xmin <> '0'::xid) OR {input_hash} = c.input_hash
), forgotten AS (
    DELETE FROM {row} AS r USING found AS f WHERE {row_of_found}
)
SELECT place::int FROM found
