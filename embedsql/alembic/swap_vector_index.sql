-- Renaming an index keeps no search waiting; dropping one would.
ALTER INDEX IF EXISTS {current} RENAME TO {old_name};

ALTER INDEX {built} RENAME TO {name};
