CREATE INDEX {concurrently} {vector_index} ON {indexed_table} USING {method} ({expression} {operator_class})
WITH ({options});
