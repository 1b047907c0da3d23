UPDATE {batch} SET worker = %(worker)s, leased_until = now() + %(lease)s * interval '1 second'
WHERE batch_id = (
    SELECT batch_id FROM {batch} WHERE worker IS NULL ORDER BY batch_id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING batch_id, {returned_arrays}, versions, seqs
