-- CASCADE takes the triggers along, also from a source that was renamed.
DROP FUNCTION IF EXISTS {insert_function}(), {bulk_insert_function}(), {update_function}(), {delete_function}(), {truncate_function}() CASCADE;

DROP VIEW IF EXISTS {chunk_view};

-- In the order in which a worker locks them, batches first: otherwise the two could deadlock.
DROP TABLE IF EXISTS {batch}, {row}, {chunk}, {log};

DELETE FROM embedsql.bulk_insert WHERE name = {name} AND generation = {generation};

DELETE FROM embedsql.semantic_index WHERE name = {name} AND generation = {generation};
