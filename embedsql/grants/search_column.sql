GRANT SELECT ({vector_column}) ON {source} TO {role};
