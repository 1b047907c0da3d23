-- Batches of this worker that it does not know of: the connection broke as the claim committed.
SELECT batch_id, 0 = ANY (versions) FROM {batch} WHERE worker = %(worker)s AND batch_id <> ALL (%(known)s)
