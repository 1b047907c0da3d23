
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = pg_catalog.to_regclass({source_text}) AND a.attname = {column_text}
          AND pg_catalog.col_description(a.attrelid, a.attnum) = {comment}
    ) THEN
        ALTER TABLE {source} DROP COLUMN {column};
    END IF;
END
