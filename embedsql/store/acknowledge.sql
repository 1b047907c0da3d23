WITH done AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}, %(versions)b::bigint[]) AS k ({key_columns}, version)
), settled AS (
    DELETE FROM embedsql.failure AS f USING done
    WHERE f.index_id = %(index_id)s AND f.key = {key_json} AND f.version <= done.version
)
-- IS TRUE keeps the IN a hashed look-up. As a join of two sets that the planner takes for small, it might compare each key
-- with every other.
DELETE FROM {log} WHERE seq = ANY (%(seqs)b) AND (({key_columns}) IN (SELECT {key_columns} FROM done)) IS TRUE
