SELECT embedsql.keep_grants(ARRAY[{relations}], {search_function});

DROP TABLE IF EXISTS {kept};

-- Named after the index, since one revision may make several anew.
ALTER TABLE pg_temp.embedsql_kept RENAME TO {kept_name};
