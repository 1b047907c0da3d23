
DECLARE
    logged bigint;
BEGIN
    INSERT INTO {log} ({key_columns}) VALUES ({new_key}) RETURNING seq INTO logged;
    {wake}
    IF {key_changed} THEN
        INSERT INTO {log} ({key_columns}) VALUES ({old_key});
    END IF;
    RETURN NULL;
END
