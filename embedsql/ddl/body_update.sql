
DECLARE
    logged bigint;
BEGIN
    INSERT INTO {log} ({key_columns}) VALUES ({new_key})
    /* no such column? the key was renamed: embedsql doctor says what to run */
    RETURNING seq INTO logged;
    {wake}
    IF {key_changed} THEN
        INSERT INTO {log} ({key_columns}) VALUES ({old_key});
    END IF;
    RETURN NULL;
END
