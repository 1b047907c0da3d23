-- Columns and types agree: the views stay, with all that depends on them.
CREATE OR REPLACE VIEW {serving_view} WITH (security_invoker = true) AS
SELECT * FROM {chunk_view} WHERE embedsql.require_serving({name}, {generation});
