CREATE INDEX {concurrently} {vector_index} ON {chunk} USING hnsw (embedding {operator_class})
WITH (m = {m}, ef_construction = {ef_construction});
