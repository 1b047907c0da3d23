UPDATE embedsql.semantic_index
SET similarity_mean = %(mean)s::float8, similarity_deviation = %(deviation)s::float8,
    agreement = %(agreement)s::float8,
    average_length = coalesce(%(length)s::float8, average_length), calibrated_chunks = %(chunks)s::bigint
WHERE index_id = %(index_id)s
