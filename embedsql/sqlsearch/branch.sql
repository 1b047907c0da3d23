    IF embedsql_lanes = {mode} AND {condition} THEN
        RETURN QUERY SELECT {columns}
        FROM (
{statement}
        ) AS found ({found});
        RETURN;
    END IF;
