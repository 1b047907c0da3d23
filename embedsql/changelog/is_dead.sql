SELECT FROM {batch} WHERE batch_id = %(batch_id)s AND worker IS NOT NULL AND leased_until < now()
FOR UPDATE SKIP LOCKED
