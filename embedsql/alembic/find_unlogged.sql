-- What was inserted while a trigger was away is in no log: workers look for it.
UPDATE embedsql.semantic_index SET backfill_since = now(), backfill_after = NULL WHERE name = {name};
