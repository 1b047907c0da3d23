
BEGIN
    TRUNCATE {log}, {row};
    -- An index that is built concurrently, or a vacuum, holds this lock for minutes, and a TRUNCATE would wait for all of them.
    -- But a DELETE sees no more than its snapshot.
    IF current_setting('transaction_isolation') LIKE 'read %' AND EXISTS (
        SELECT FROM pg_locks
        WHERE relation = {chunk_name}::regclass AND granted AND mode = 'ShareUpdateExclusiveLock'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) THEN
        DELETE FROM {chunk};
    ELSE
        -- A build would wait in turn for an old snapshot to go: it is begun again.
        PERFORM pg_cancel_backend(p.pid)
        FROM pg_stat_progress_create_index AS p JOIN pg_stat_activity AS a USING (pid)
        WHERE p.datname = current_database() AND p.relid = {chunk_name}::regclass AND a.usename = current_user;
        TRUNCATE {chunk};
    END IF;
    DELETE FROM embedsql.failure AS f USING embedsql.semantic_index AS i
    WHERE f.index_id = i.index_id AND i.name = {name} AND i.generation = {generation};
    RETURN NULL;
END
