GRANT USAGE ON SCHEMA embedsql TO {role};

GRANT USAGE ON SCHEMA {source_schema} TO {role};

GRANT SELECT (name, space, generation, state) ON embedsql.semantic_index TO {role};

GRANT EXECUTE ON FUNCTION embedsql.require_space TO {role};

GRANT EXECUTE ON FUNCTION embedsql.require_serving TO {role};

GRANT EXECUTE ON FUNCTION embedsql.any_term_query TO {role};

GRANT SELECT ({key}) ON {source} TO {role};

GRANT SELECT ON {index_view} TO {role};

GRANT SELECT ON {serving_view} TO {role};

GRANT SELECT ON {chunk_view} TO {role};

-- The views run as their caller, so that row-level security of the source holds.
GRANT SELECT ON {chunk} TO {role};
