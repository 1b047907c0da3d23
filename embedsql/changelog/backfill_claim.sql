-- The next keys of the source for which nothing is stored. Their version is 0, since no log row is about them.
WITH looked AS MATERIALIZED (
    SELECT {source_key_as_own}, row_number() OVER (ORDER BY {ordered_key}) AS place
    FROM {source} AS s WHERE {after} ORDER BY {ordered_key} LIMIT %(window)s
), busy AS MATERIALIZED (
    SELECT k.* FROM {batch} AS b, unnest({batch_arrays}) AS k ({key_columns})
), missing AS MATERIALIZED (
    SELECT * FROM looked AS k
    WHERE NOT EXISTS (SELECT FROM {row} AS r WHERE {row_of_key})
      AND ({key_columns}) NOT IN (SELECT {key_columns} FROM busy)
      AND NOT EXISTS (SELECT FROM embedsql.failure AS f WHERE f.index_id = %(index_id)s AND f.key = {key_json})
    ORDER BY place LIMIT %(size)s
), extent AS (
    SELECT (SELECT count(*) FROM missing) = %(size)s AS filled,
           (SELECT count(*) FROM looked) < %(window)s AS last
), reached AS (
    SELECT ARRAY[{key_texts}] AS key FROM looked, extent
    WHERE place = CASE WHEN extent.filled THEN (SELECT max(place) FROM missing)
                       ELSE (SELECT max(place) FROM looked) END
), moved AS (
    UPDATE embedsql.semantic_index AS i
    SET backfill_after = CASE WHEN e.last AND NOT e.filled THEN NULL ELSE (SELECT key FROM reached) END,
        backfill_since = CASE WHEN e.last AND NOT e.filled THEN NULL ELSE i.backfill_since END
    FROM extent AS e WHERE i.index_id = %(index_id)s
)
INSERT INTO {batch} (worker, leased_until, {array_columns}, versions, seqs)
SELECT %(worker)s, now() + %(lease)s * interval '1 second', {aggregated_key},
       array_agg(0 ORDER BY place), '{{}}'
FROM missing HAVING count(*) > 0
RETURNING batch_id, {returned_arrays}, versions, seqs
