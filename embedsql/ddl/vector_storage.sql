ALTER TABLE {chunk} ALTER COLUMN {stored_column} SET STORAGE {storage};
