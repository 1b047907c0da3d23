    IF embedsql_lanes = {mode} THEN
        RETURN QUERY SELECT {columns}
        FROM (
{statement}
        ) AS found ({found});
        RETURN;
    END IF;
