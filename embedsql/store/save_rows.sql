WITH claimed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}, %(versions)b::bigint[]) WITH ORDINALITY
        AS k ({key_columns}, version, place)
), made AS MATERIALIZED (
    SELECT * FROM unnest(%(places)b::bigint[], %(input_hashes)b::bytea[], %(chunk_counts)b::int[],
        %(truncated)b::boolean[], %(kept)b::boolean[]) AS m (place, input_hash, chunks, truncated, kept)
), current AS MATERIALIZED (
    -- MATERIALIZED, and joined by key: else the planner may hash every text of the whole source
    SELECT c.*, {input_hash} AS input_hash
    FROM claimed AS c JOIN {source} AS s ON {key_match}
), agreed AS MATERIALIZED (
    -- the text is still the one that was embedded, and chunks that are kept are still there
    SELECT c.*, m.chunks, m.truncated FROM current AS c JOIN made AS m USING (place, input_hash)
    WHERE NOT m.kept OR m.input_hash = (SELECT r.input_hash FROM {row} AS r WHERE {row_of_claimed})
), gone AS MATERIALIZED (
    SELECT c.* FROM claimed AS c WHERE NOT EXISTS (SELECT FROM current AS x WHERE x.place = c.place)
), saved AS (
    INSERT INTO {row} AS r ({key_columns}, version, input_hash, chunks, truncated)
    SELECT {key_columns}, version, input_hash, chunks, truncated FROM agreed
    ON CONFLICT ({key_columns}) DO UPDATE
        SET version = EXCLUDED.version, input_hash = EXCLUDED.input_hash,
            chunks = EXCLUDED.chunks, truncated = EXCLUDED.truncated
        WHERE r.version <= EXCLUDED.version
    RETURNING {key_columns}
), removed AS (
    DELETE FROM {row} AS r USING gone AS g
    WHERE {row_of_gone} AND r.version <= g.version
    RETURNING {row_key}
)
-- a hashed IN: a join of two small sets of unknown size would compare each key with every other
SELECT a.place::int,
       CASE WHEN ({agreed_key}) IN (SELECT {key_columns} FROM saved) THEN 'saved' ELSE 'older' END
FROM agreed AS a
UNION ALL SELECT g.place::int, 'gone' FROM gone AS g
