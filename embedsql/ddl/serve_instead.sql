-- Another vector type: made beside the views that serve, which are locked for the last four statements only.
CREATE VIEW {next_serving_view} WITH (security_invoker = true) AS
SELECT * FROM {chunk_view} WHERE embedsql.require_serving({name}, {generation});

CREATE VIEW {next_index_view} WITH (security_invoker = true) AS
SELECT {view_key}, c.chunk_seq, c.chunk, c.embedding
FROM {source} AS s JOIN {next_serving_view} AS c ON {key_match};

COMMENT ON VIEW {next_index_view} IS {view_comment};

SELECT embedsql.copy_grants({serving_view_text}, {next_serving_view_text});

SELECT embedsql.copy_grants({index_view_text}, {next_index_view_text});

DROP VIEW {index_view};

DROP VIEW {serving_view};

ALTER VIEW {next_serving_view} RENAME TO {serving_view_name};

ALTER VIEW {next_index_view} RENAME TO {index_view_name};
