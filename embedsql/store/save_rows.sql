WITH claimed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}, %(versions)b::bigint[], %(seen)b::xid[], %(input_hashes)b::bytea[],
        %(chunk_counts)b::int[], %(truncated)b::boolean[], %(kept)b::boolean[]) WITH ORDINALITY
        AS k ({key_columns}, version, seen, input_hash, chunks, truncated, kept, place)
), found AS MATERIALIZED (
    SELECT c.*, CASE
        WHEN s.xmin IS NULL THEN 'gone'
        WHEN c.input_hash IS NULL THEN NULL  -- the batch has nothing to write for it
        -- The xmin that was read: the row is the one that was read, since of the versions that one transaction
        -- wrote only the last was ever seen (but foreign rows all have xmin 0). Another xmin: written since,
        -- perhaps in other columns only, so that the hash decides.
        WHEN (s.xmin <> c.seen OR s.xmin = '0'::xid) AND c.input_hash <> {input_hash} THEN NULL
        WHEN c.kept AND c.input_hash IS DISTINCT FROM r.input_hash THEN NULL  -- the stored chunks, which were to stay, are of another text
        WHEN r.version IS NULL THEN 'added'
        WHEN r.version > c.version THEN 'older'
        ELSE 'saved' END AS what
    FROM claimed AS c LEFT JOIN {source} AS s ON {key_match} LEFT JOIN {row} AS r ON {row_of_claimed}
), added AS (
    -- no conflict can come: a batch owns its keys, so nobody else adds them
    INSERT INTO {row} ({key_columns}, version, input_hash, chunks, truncated)
    SELECT {key_columns}, version, input_hash, chunks, truncated FROM found WHERE what = 'added'
), saved AS (
    UPDATE {row} AS r
    SET version = f.version, input_hash = f.input_hash, chunks = f.chunks, truncated = f.truncated
    FROM found AS f WHERE f.what = 'saved' AND {row_of_found}
), removed AS (
    DELETE FROM {row} AS r USING found AS f
    WHERE f.what = 'gone' AND {row_of_found} AND r.version <= f.version
)
SELECT place::int, what FROM found WHERE what IS NOT NULL
