SELECT embedsql.keep_grants(ARRAY[{relations}], {search_function});

DROP TABLE IF EXISTS {kept};

-- Under the index's own name: a revision may make several anew.
ALTER TABLE pg_temp.embedsql_kept RENAME TO {kept_name};
