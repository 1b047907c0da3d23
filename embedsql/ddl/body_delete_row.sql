
DECLARE
    logged bigint;
BEGIN
    INSERT INTO {log} ({key_columns}) VALUES ({old_key})
    /* no such column? the key was renamed: embedsql doctor says what to run */
    RETURNING seq INTO logged;
    {wake}
    RETURN NULL;
END
