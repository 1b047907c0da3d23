-- The functions in the expression that an approximate index on lexical weights is built on.
GRANT EXECUTE ON FUNCTION embedsql.indexed_terms TO {role};

GRANT EXECUTE ON FUNCTION embedsql.heaviest_terms TO {role};
