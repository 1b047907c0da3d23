-- which text-search configurations rows name: a question is read by each of them
UPDATE embedsql.semantic_index AS i
SET configurations = ARRAY(SELECT DISTINCT unnest(coalesce(i.configurations, '{{}}') || f.names) ORDER BY 1)
FROM (
    SELECT array_agg(DISTINCT t.cfgname::text) AS names
    FROM unnest({key_parameters}) AS c ({key_columns})
    JOIN {source} AS s ON {key_match}
    JOIN pg_catalog.pg_ts_config AS t ON t.cfgname = s.{lexical_column}::text
) AS f
WHERE i.name = {name} AND i.generation = {generation} AND NOT coalesce(i.configurations, '{{}}') @> f.names
