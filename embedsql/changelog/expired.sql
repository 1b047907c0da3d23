-- A lease is no longer than ten minutes: one that seems to be is of a time before the server's clock was set back.
SELECT batch_id, crashes, cardinality(versions) FROM {batch}
WHERE worker IS NOT NULL AND leased_until NOT BETWEEN now() AND now() + interval '10 minutes'
ORDER BY batch_id LIMIT 1 FOR UPDATE SKIP LOCKED
