-- Rows that were inserted while a trigger was missing are in no log: a backfill looks for them.
UPDATE embedsql.semantic_index SET backfill_since = now(), backfill_after = NULL WHERE name = {name};
