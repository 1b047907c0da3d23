-- What searches and people read: the chunks of the generation that serves.
CREATE VIEW {serving_view} WITH (security_invoker = true) AS SELECT * FROM {chunk_view};

CREATE VIEW {index_view} WITH (security_invoker = true) AS
SELECT {view_key}, c.chunk_seq, c.chunk, c.embedding
FROM {source} AS s JOIN {serving_view} AS c ON {key_match};

COMMENT ON VIEW {index_view} IS {view_comment};
