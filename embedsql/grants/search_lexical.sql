-- Rows that wait to be embedded are found by their texts as they are now.
GRANT SELECT ({watched}) ON {source} TO {role};

GRANT SELECT ON {log} TO {role};

GRANT SELECT (average_length) ON embedsql.semantic_index TO {role};

GRANT EXECUTE ON FUNCTION embedsql.last_change TO {role};

GRANT EXECUTE ON FUNCTION embedsql.chunk_lexemes TO {role};

GRANT EXECUTE ON FUNCTION embedsql.text_length TO {role};

GRANT EXECUTE ON FUNCTION embedsql.bm25_weights TO {role};

GRANT EXECUTE ON FUNCTION {pending} TO {role};
