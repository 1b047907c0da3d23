SELECT batch_id, crashes, cardinality(versions) FROM {batch}
WHERE worker IS NOT NULL AND leased_until < now()
ORDER BY batch_id LIMIT 1 FOR UPDATE SKIP LOCKED
