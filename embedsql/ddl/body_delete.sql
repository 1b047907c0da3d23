
BEGIN
    INSERT INTO {log} ({key_columns}) SELECT {source_key} FROM embedsql_changed;
    IF FOUND THEN {wake} END IF;
    RETURN NULL;
END
