SELECT FROM {batch}
WHERE batch_id = %(batch_id)s AND worker IS NOT NULL AND leased_until NOT BETWEEN now() AND now() + interval '10 minutes'
FOR UPDATE SKIP LOCKED
