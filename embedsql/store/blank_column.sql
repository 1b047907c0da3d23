UPDATE {source} AS s SET {column} = NULL
FROM unnest({key_parameters}) AS c ({key_columns})
WHERE {key_match} AND s.{column} IS NOT NULL
