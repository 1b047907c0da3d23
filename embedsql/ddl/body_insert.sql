
BEGIN
    INSERT INTO {log} ({key_columns}) SELECT {source_key} FROM embedsql_changed AS c;
    IF FOUND THEN {wake} END IF;
    RETURN NULL;
END
