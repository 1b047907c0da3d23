
BEGIN
    INSERT INTO {log} ({key_columns}) VALUES ({old_key});
    {wake}
    RETURN NULL;
END
