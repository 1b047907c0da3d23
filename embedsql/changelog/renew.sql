-- SKIP LOCKED: a batch that is being written needs no renewal, and while we waited for it other leases would run out.
UPDATE {batch} SET leased_until = now() + %(lease)s * interval '1 second'
WHERE batch_id = (
    SELECT batch_id FROM {batch} WHERE batch_id = %(batch_id)s AND worker = %(worker)s FOR UPDATE SKIP LOCKED
)
