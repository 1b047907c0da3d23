
DECLARE
    logged bigint;
BEGIN
    WITH deleted AS (
        INSERT INTO {log} ({key_columns}) SELECT {source_key} FROM embedsql_changed AS c
        /* no such column? the key was renamed: embedsql doctor says what to run */
        RETURNING seq
    )
    SELECT min(seq) INTO logged FROM deleted;
    {wake}
    RETURN NULL;
END
