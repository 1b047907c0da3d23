GRANT USAGE ON SCHEMA embedsql TO {role};

GRANT USAGE ON SCHEMA {source_schema} TO {role};

GRANT SELECT (version) ON embedsql.installation TO {role};

GRANT SELECT (index_id, name, declaration, space, generation, state, source_schema, source_table, log_table, batch_table, row_table, chunk_table, backfill_since, backfill_after, problem, average_length, configurations, calibrated_chunks), UPDATE (space, backfill_since, backfill_after, problem, average_length, configurations, similarity_mean, similarity_deviation, agreement, calibrated_chunks) ON embedsql.semantic_index TO {role};

-- Metrics; without it the rest of the work goes on.
GRANT EXECUTE ON FUNCTION embedsql.index_status TO {role};

GRANT EXECUTE ON FUNCTION embedsql.estimated_chunks TO {role};

GRANT EXECUTE ON FUNCTION embedsql.identifier_lexemes TO {role};

GRANT EXECUTE ON FUNCTION embedsql.lexemes TO {role};

GRANT EXECUTE ON FUNCTION embedsql.chunk_lexemes TO {role};

GRANT EXECUTE ON FUNCTION embedsql.term_place TO {role};

GRANT EXECUTE ON FUNCTION embedsql.sparse TO {role};

GRANT EXECUTE ON FUNCTION embedsql.text_length TO {role};

GRANT EXECUTE ON FUNCTION embedsql.bm25_weights TO {role};

GRANT EXECUTE ON FUNCTION embedsql.configuration TO {role};

GRANT SELECT, DELETE ON embedsql.bulk_insert TO {role};

GRANT SELECT, INSERT, UPDATE, DELETE ON embedsql.worker TO {role};

-- All columns: ON CONFLICT DO UPDATE reads those of EXCLUDED, which takes SELECT on each.
GRANT SELECT, INSERT, UPDATE (version, attempts, next_attempt_at, dead, error_class, error, since, input_hash), DELETE ON embedsql.failure TO {role};

-- The whole table: LOCK TABLE ... IN ACCESS SHARE MODE takes no privilege on columns.
GRANT SELECT ON {source} TO {role};

-- No sequence: PostgreSQL asks no privilege on the one behind an identity column.
GRANT SELECT, INSERT, DELETE ON {log} TO {role};

GRANT SELECT, INSERT, UPDATE, DELETE ON {batch} TO {role};

GRANT SELECT, INSERT, UPDATE, DELETE ON {row} TO {role};

GRANT SELECT, INSERT, UPDATE, DELETE ON {chunk} TO {role};

GRANT SELECT ON {chunk_view} TO {role};

-- To answer the questions of search functions. Without these its other work goes on.
GRANT SELECT, UPDATE (claimed_until, error), DELETE ON embedsql.query_request TO {role};

GRANT SELECT, INSERT, DELETE ON embedsql.query_vector TO {role};
