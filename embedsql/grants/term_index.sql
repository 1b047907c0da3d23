-- What an approximate index on lexical weights is of.
GRANT EXECUTE ON FUNCTION embedsql.indexed_terms TO {role};

GRANT EXECUTE ON FUNCTION embedsql.heaviest_terms TO {role};
