WITH busy AS MATERIALIZED (
    SELECT k.* FROM {batch} AS b, unnest({batch_arrays}) AS k ({key_columns})
), waiting AS MATERIALIZED (
    -- Oldest change first. NOT IN, since NOT EXISTS would become an anti-join, which need not keep the log's order.
    SELECT {key_columns}, seq FROM {log}
    WHERE seq > %(hint)s AND ({key_columns}) NOT IN (SELECT {key_columns} FROM busy)
    ORDER BY seq LIMIT %(window)s
), picked AS MATERIALIZED (
    SELECT {key_columns}, max(seq) AS version, min(seq) AS place FROM waiting
    GROUP BY {key_columns} ORDER BY min(seq) LIMIT %(size)s
)
INSERT INTO {batch} (worker, leased_until, {array_columns}, versions, seqs)
SELECT %(worker)s, now() + %(lease)s * interval '1 second', {aggregated_key},
       array_agg(version ORDER BY place),
       (SELECT array_agg(seq ORDER BY seq) FROM waiting JOIN picked USING ({key_columns}))
FROM picked HAVING count(*) > 0
RETURNING batch_id, {returned_arrays}, versions, seqs
