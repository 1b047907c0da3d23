-- Whether the caller may read some tables. They are named in values, not in FROM: a role without the
-- privilege could not run such a statement at all.
SELECT coalesce(bool_and(coalesce(has_table_privilege(to_regclass(name), 'SELECT'), false)), false)
       AND (SELECT bool_and(has_column_privilege('embedsql.semantic_index', name, 'SELECT'))
            FROM unnest(ARRAY['index_id', 'name', 'generation', 'state', 'backfill_since', 'problem']) AS name) AS readable
FROM unnest({tables}) AS name
