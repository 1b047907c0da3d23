-- Whether the caller may look into the queue. Names no table: a role without the privilege could not run it else.
SELECT coalesce(
           has_table_privilege('embedsql.failure', 'SELECT') AND has_table_privilege('embedsql.worker', 'SELECT')
           AND has_table_privilege('embedsql.bulk_insert', 'SELECT')
           AND has_table_privilege(to_regclass({log_name}), 'SELECT')
           AND has_table_privilege(to_regclass({batch_name}), 'SELECT')
           AND (SELECT bool_and(has_column_privilege('embedsql.semantic_index', name, 'SELECT'))
                FROM unnest(ARRAY['index_id', 'generation', 'backfill_since', 'problem']) AS name),
       false) AS readable
