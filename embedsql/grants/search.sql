GRANT USAGE ON SCHEMA embedsql TO {role};

GRANT USAGE ON SCHEMA {source_schema} TO {role};

GRANT SELECT (name, space, generation, state, chunk_table, configurations, similarity_mean, similarity_deviation, agreement) ON embedsql.semantic_index TO {role};

GRANT EXECUTE ON FUNCTION embedsql.require_space TO {role};

GRANT EXECUTE ON FUNCTION embedsql.require_serving TO {role};

GRANT EXECUTE ON FUNCTION embedsql.identifier_lexemes TO {role};

GRANT EXECUTE ON FUNCTION embedsql.lexemes TO {role};

GRANT EXECUTE ON FUNCTION embedsql.term_place TO {role};

GRANT EXECUTE ON FUNCTION embedsql.sparse TO {role};

GRANT EXECUTE ON FUNCTION embedsql.configuration TO {role};

GRANT EXECUTE ON FUNCTION embedsql.quote_lexeme TO {role};

GRANT EXECUTE ON FUNCTION embedsql.highlight TO {role};

GRANT EXECUTE ON FUNCTION embedsql.phrase_query TO {role};

GRANT EXECUTE ON FUNCTION embedsql.read_question TO {role};

GRANT EXECUTE ON FUNCTION embedsql.estimated_chunks TO {role};

GRANT EXECUTE ON FUNCTION embedsql.bm25_question TO {role};

GRANT EXECUTE ON FUNCTION embedsql.bm25_beyond TO {role};

GRANT SELECT ({key}) ON {source} TO {role};

GRANT SELECT ON {index_view} TO {role};

GRANT SELECT ON {serving_view} TO {role};

GRANT SELECT ON {chunk_view} TO {role};

-- The views run as their caller, so that row-level security of the source holds.
GRANT SELECT ON {chunk} TO {role};

-- By these functions alone a role puts its question into the mailbox and reads the answer: it sees neither the mailbox nor
-- the vectors of what others ask.
GRANT EXECUTE ON FUNCTION embedsql.prepare_search TO {role};

GRANT EXECUTE ON FUNCTION embedsql.default_wait_ms TO {role};

GRANT EXECUTE ON FUNCTION embedsql.post_query TO {role};

GRANT EXECUTE ON FUNCTION embedsql.await_query TO {role};

GRANT EXECUTE ON FUNCTION {index_view} TO {role};
