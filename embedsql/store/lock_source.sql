-- SKIP LOCKED: we never wait for an application's transaction, so that the two cannot wait for each other.
WITH claimed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}) WITH ORDINALITY AS k ({key_columns}, place)
)
SELECT c.place::int FROM claimed AS c JOIN {source} AS s ON {key_match}
FOR NO KEY UPDATE OF s SKIP LOCKED
