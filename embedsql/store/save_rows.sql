WITH claimed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}, %(versions)b::bigint[]) WITH ORDINALITY
        AS k ({key_columns}, version, place)
), made AS MATERIALIZED (
    SELECT * FROM unnest(%(places)b::bigint[], %(input_hashes)b::bytea[], %(chunk_counts)b::int[],
        %(truncated)b::boolean[], %(kept)b::boolean[]) AS m (place, input_hash, chunks, truncated, kept)
), current AS MATERIALIZED (
    -- MATERIALIZED, and joined by key: else the planner may hash every text of the whole source
    SELECT c.place, {input_hash} AS input_hash
    FROM claimed AS c JOIN {source} AS s ON {key_match}
), agreed AS MATERIALIZED (
    -- the text is still the one that was embedded, and chunks that are kept are still there
    SELECT c.*, m.input_hash, m.chunks, m.truncated
    FROM made AS m JOIN current USING (place, input_hash) JOIN claimed AS c USING (place)
    LEFT JOIN {row} AS r USING ({key_columns})
    WHERE NOT m.kept OR r.input_hash = m.input_hash
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
