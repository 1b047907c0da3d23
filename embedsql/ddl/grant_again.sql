ALTER TABLE {kept} RENAME TO embedsql_kept;

SELECT embedsql.grant_again(ARRAY[{relations}], {search_function}, ARRAY[{policies}]);
