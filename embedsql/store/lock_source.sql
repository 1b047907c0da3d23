-- Never waits for an application's transaction, so that no two wait for one another.
WITH claimed AS MATERIALIZED (
    SELECT * FROM unnest({key_parameters}) WITH ORDINALITY AS k ({key_columns}, place)
)
SELECT c.place::int FROM claimed AS c JOIN {source} AS s ON {key_match}
FOR NO KEY UPDATE OF s SKIP LOCKED
