DELETE FROM {batch} WHERE batch_id = %(batch_id)s AND worker = %(worker)s
