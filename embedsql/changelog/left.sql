SELECT EXISTS (SELECT FROM {log}), EXISTS (SELECT FROM {batch}),
       EXISTS (SELECT FROM embedsql.failure WHERE index_id = %(index_id)s AND next_attempt_at IS NOT NULL),
       EXISTS (SELECT FROM embedsql.semantic_index WHERE index_id = %(index_id)s AND backfill_since IS NOT NULL),
       EXISTS (SELECT FROM embedsql.bulk_insert AS b JOIN embedsql.semantic_index AS i USING (name, generation)
               WHERE i.index_id = %(index_id)s)
