-- Who works or searches on the generation before may do so on this one.
SELECT embedsql.copy_grants({model_log}, {log_text});

SELECT embedsql.copy_grants({model_batch}, {batch_text});

SELECT embedsql.copy_grants({model_row}, {row_text});

SELECT embedsql.copy_grants({model_chunk}, {chunk_text});

SELECT embedsql.copy_grants({model_chunk_view}, {chunk_view_text});
