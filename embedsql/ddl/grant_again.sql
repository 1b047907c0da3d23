-- Privileges are kept in a temporary table: there is none where another session dropped the index.
ALTER TABLE IF EXISTS {kept} RENAME TO embedsql_kept;

SELECT embedsql.grant_again(ARRAY[{relations}], {search_function}, ARRAY[{policies}])
WHERE to_regclass('pg_temp.embedsql_kept') IS NOT NULL;
