
BEGIN
    INSERT INTO {log} ({key_columns}) VALUES ({new_key});
    {wake}
    RETURN NULL;
END
