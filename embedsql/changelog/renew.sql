UPDATE {batch} SET leased_until = now() + %(lease)s * interval '1 second'
WHERE batch_id = %(batch_id)s AND worker = %(worker)s
