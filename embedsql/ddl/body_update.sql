
BEGIN
    INSERT INTO {log} ({key_columns}) VALUES ({new_key});
    IF {key_changed} THEN
        INSERT INTO {log} ({key_columns}) VALUES ({old_key});
    END IF;
    {wake}
    RETURN NULL;
END
