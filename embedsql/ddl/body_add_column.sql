
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = {source_text}::pg_catalog.regclass AND attname = {column_text} AND NOT attisdropped
    ) THEN
        ALTER TABLE {source} ADD COLUMN {column} {vector_type};
        ALTER TABLE {source} ALTER COLUMN {column} SET STORAGE {storage};
        COMMENT ON COLUMN {source}.{column} IS {comment};
    END IF;
END
