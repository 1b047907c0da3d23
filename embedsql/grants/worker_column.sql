GRANT UPDATE ({vector_column}) ON {source} TO {role};
