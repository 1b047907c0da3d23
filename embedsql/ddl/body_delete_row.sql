
DECLARE
    logged bigint;
BEGIN
    INSERT INTO {log} ({key_columns}) VALUES ({old_key}) RETURNING seq INTO logged;
    {wake}
    RETURN NULL;
END
