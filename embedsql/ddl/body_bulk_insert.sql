
BEGIN
    INSERT INTO embedsql.bulk_insert (name, generation) VALUES ({name}, {generation});
    {wake}
    RETURN NULL;
END
