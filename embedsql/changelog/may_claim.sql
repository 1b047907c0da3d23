-- Whether a claim might find something. min() reads the log by its index, and the hint spares it most dead rows there.
SELECT (SELECT min(seq) FROM {log} WHERE seq > %(hint)s) IS NOT NULL
    OR EXISTS (SELECT FROM {batch} WHERE worker IS NULL OR leased_until NOT BETWEEN now() AND now() + interval '10 minutes')
    OR EXISTS (SELECT FROM embedsql.failure WHERE index_id = %(index_id)s AND next_attempt_at <= now())
    OR EXISTS (SELECT FROM embedsql.failure WHERE index_id = %(index_id)s AND next_attempt_at > now() + interval '10 minutes')
