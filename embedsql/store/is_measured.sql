-- the first to write tells it, and the others wait, so that all weights are made for one length
SELECT average_length IS NOT NULL FROM embedsql.semantic_index
WHERE name = {name} AND generation = {generation} FOR NO KEY UPDATE
