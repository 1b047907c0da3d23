-- Every key that the source or our tables know, with what is there and what should be.
WITH expected AS (
    SELECT {source_key_as_own}, {input_hash} AS input_hash, {blank} AS blank FROM {source} AS s
), stored AS (
    SELECT {chunk_key}, count(*) FILTER (WHERE {has_vector}) AS chunks, bool_and({vector_is_own}) AS own
    FROM {chunk_and_vector}
    GROUP BY {chunk_key}
), compared AS (
    SELECT {key_columns}, e.input_hash IS NOT NULL AS in_source, coalesce(e.blank, true) AS blank,
           coalesce(s.chunks, 0) AS chunks, r.version IS NOT NULL AS in_rows,
           r.input_hash IS NOT DISTINCT FROM e.input_hash AND r.chunks = s.chunks AND s.own AS agrees
    FROM expected AS e
    FULL JOIN stored AS s USING ({key_columns})
    FULL JOIN {row} AS r USING ({key_columns})
)
SELECT {key_columns}, in_rows,
       CASE WHEN NOT in_source THEN 'orphan'
            WHEN chunks = 0 AND NOT blank THEN 'missing'
            WHEN chunks > 0 AND agrees IS NOT TRUE THEN 'stale' END AS finding
FROM compared
WHERE NOT in_source OR (chunks = 0 AND NOT blank) OR (chunks > 0 AND agrees IS NOT TRUE)
