-- Whoever has a privilege on an object of the generation before gets it on this generation's.
SELECT embedsql.copy_grants({model_log}, {log_text});

SELECT embedsql.copy_grants({model_batch}, {batch_text});

SELECT embedsql.copy_grants({model_row}, {row_text});

SELECT embedsql.copy_grants({model_chunk}, {chunk_text});

SELECT embedsql.copy_grants({model_chunk_view}, {chunk_view_text});
