
DECLARE
    logged bigint;
BEGIN
    INSERT INTO {log} ({key_columns}) VALUES ({new_key}) RETURNING seq INTO logged;
    {wake}
    RETURN NULL;
END
