-- Grouped, so that no approximate index can serve it.
SELECT min(c.embedding {operator} %(vector)s::{vector_type}) AS distance
FROM {source} AS s JOIN {chunk_view} AS c ON {key_match}
GROUP BY {key_columns} ORDER BY distance LIMIT %(limit)s
