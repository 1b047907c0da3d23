-- Rows that could not be embedded and still have the text that was read. Their stored hash, of an earlier text, is
-- forgotten: else the next attempt, or an edit back to that text, would be taken for unchanged.
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
