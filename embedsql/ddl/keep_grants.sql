SELECT embedsql.keep_grants(ARRAY[{relations}], {search_function});
