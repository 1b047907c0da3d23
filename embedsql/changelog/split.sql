-- A batch whose worker died becomes pieces that anyone may claim, each with only its own keys'
-- log sequences, so that a row that kills its worker is soon alone.
WITH dead AS (
    DELETE FROM {batch} WHERE batch_id = %(batch_id)s RETURNING *
), member AS MATERIALIZED (
    SELECT {key_columns}, version, place, (place - 1) / %(size)s AS piece
    FROM dead, unnest({dead_arrays}, dead.versions) WITH ORDINALITY AS k ({key_columns}, version, place)
), observed AS MATERIALIZED (
    SELECT m.piece, array_agg(l.seq) AS seqs
    FROM {log} AS l JOIN member AS m USING ({key_columns})
    WHERE l.seq = ANY ((SELECT seqs FROM dead)::bigint[]) GROUP BY m.piece
)
INSERT INTO {batch} (worker, leased_until, crashes, {array_columns}, versions, seqs)
SELECT NULL, '-infinity', (SELECT crashes + 1 FROM dead), {aggregated_key},
       array_agg(version ORDER BY place),
       coalesce((SELECT o.seqs FROM observed AS o WHERE o.piece = member.piece), '{{}}')
FROM member GROUP BY piece
