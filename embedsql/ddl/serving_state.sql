UPDATE embedsql.semantic_index SET state = CASE WHEN generation < {generation} THEN 'retired' ELSE 'ready' END
WHERE name = {name} AND generation <> {generation} AND state = 'serving';

UPDATE embedsql.semantic_index SET state = 'serving' WHERE name = {name} AND generation = {generation};
