-- Of many changes of one key the first and the last stay: the last says that it changed, the first
-- since when. What lies between says nothing more.
WITH front AS MATERIALIZED (
    SELECT {key_columns}, seq FROM {log} WHERE seq > %(hint)s ORDER BY seq LIMIT %(window)s
), ends AS MATERIALIZED (
    SELECT {key_columns}, min(seq) AS first, max(seq) AS last FROM front
    GROUP BY {key_columns} HAVING count(*) > 2
)
DELETE FROM {log} AS l USING front AS f JOIN ends AS e USING ({key_columns})
WHERE l.seq = f.seq AND f.seq > e.first AND f.seq < e.last
