-- Vectors of what was asked of late, found by what was asked; the texts themselves are not kept.
CREATE TABLE embedsql.query_vector (
    digest bytea PRIMARY KEY,                -- of the space and the exact text
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE, -- the oldest go first
    vector real[] NOT NULL,
    terms text                               -- of a sparse encoder, where the index has one
);

-- The mailbox: questions that wait, for seconds, until a worker has embedded them.
CREATE UNLOGGED TABLE embedsql.query_request (
    index_id int NOT NULL,
    digest bytea NOT NULL,                   -- of the text: who asks the same waits for the same answer
    query text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_until timestamptz,               -- a worker is at it; one that died is waited for no longer
    error text,                              -- why there will be no vector
    PRIMARY KEY (index_id, digest),
    CONSTRAINT query_request_bounded CHECK (char_length(query) <= 10000 AND char_length(error) <= 1000)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- How long a search function waits for a worker; replace it to wait otherwise. Being the default of
-- their argument, it also ties those functions to this schema, so that they go with it.
CREATE FUNCTION embedsql.default_wait_ms() RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 1000';

-- Puts a question into the mailbox, on behalf of a role; the caller commits, which tells the workers.
CREATE PROCEDURE embedsql.put_query(index_name text, query text, asked_by text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    index_number int;
    waiting bigint;
    of_role bigint;
    oldest timestamptz;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a standby takes no questions: ask its primary' USING ERRCODE = 'ES007';
    ELSIF char_length(query) > 10000 THEN
        RAISE EXCEPTION 'the query has % characters; 10000 is the most that a worker takes', char_length(query)
            USING ERRCODE = 'ES004', HINT = 'Search with a passage of it.';
    END IF;
    SELECT i.index_id INTO index_number FROM embedsql.semantic_index AS i WHERE i.name = index_name AND i.state = 'serving';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no semantic index named "%"', index_name USING ERRCODE = 'ES001';
    END IF;
    SELECT count(*), count(*) FILTER (WHERE r.asked_by = put_query.asked_by), min(r.asked_at)
    INTO waiting, of_role, oldest FROM embedsql.query_request AS r;
    IF oldest < clock_timestamp() - interval '30 seconds' THEN -- nobody waits for them any more
        DELETE FROM embedsql.query_request AS r USING (
            SELECT index_id, digest FROM embedsql.query_request
            WHERE asked_at < clock_timestamp() - interval '30 seconds' FOR UPDATE SKIP LOCKED
        ) AS old WHERE (r.index_id, r.digest) = (old.index_id, old.digest);
        SELECT count(*), count(*) FILTER (WHERE r.asked_by = put_query.asked_by)
        INTO waiting, of_role FROM embedsql.query_request AS r;
    END IF;
    IF waiting >= 1000 OR of_role >= 200 THEN
        RAISE EXCEPTION 'the mailbox is full: % queries wait for a worker, % of them of this role', waiting, of_role
            USING ERRCODE = 'ES007', HINT = 'Run more workers, or give the query''s vector.';
    END IF;
    INSERT INTO embedsql.query_request AS r (index_id, digest, query, asked_by)
    VALUES (index_number, sha256(convert_to(put_query.query, 'UTF8')), put_query.query, put_query.asked_by)
    ON CONFLICT (index_id, digest) DO UPDATE
    SET asked_at = clock_timestamp(), error = NULL, claimed_until = NULL WHERE r.error IS NOT NULL;
    PERFORM pg_notify('embedsql_query', '');
END $$;

-- The same for whoever may search. The text is all that a role can put there.
CREATE FUNCTION embedsql.post_query(index_name text, query text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CALL embedsql.put_query(index_name, query, session_user::text);
END $$;

-- The vector of a question, as pgvector reads it, once it is there; at most wait_ms from now. taken: a worker is at it.
CREATE FUNCTION embedsql.await_query(
    index_name text, query text, wait_ms int, OUT vector text, OUT space text, OUT problem text, OUT terms text, OUT taken boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
DECLARE
    give_up timestamptz := clock_timestamp() + least(greatest(wait_ms, 0), 60000) * interval '1 millisecond';
    text_utf8 bytea := convert_to(query, 'UTF8');
BEGIN
    IF pg_is_in_recovery() THEN -- where the mailbox, being unlogged, cannot be read
        SELECT a.vector, a.terms, a.space INTO vector, terms, space FROM embedsql.known_query(index_name, query) AS a;
        RETURN;
    END IF;
    LOOP -- each round sees what was committed meanwhile
        SELECT i.space, '[' || array_to_string(v.vector, ',') || ']', v.terms, r.error, r.claimed_until IS NOT NULL
        INTO space, vector, terms, problem, taken
        FROM embedsql.semantic_index AS i
        LEFT JOIN embedsql.query_vector AS v ON v.digest = sha256(sha256(convert_to(i.space, 'UTF8')) || text_utf8)
        LEFT JOIN embedsql.query_request AS r ON r.index_id = i.index_id AND r.digest = sha256(text_utf8)
        WHERE i.name = index_name AND i.state = 'serving';
        EXIT WHEN vector IS NOT NULL OR problem IS NOT NULL OR clock_timestamp() >= give_up;
        PERFORM pg_sleep(0.002);
    END LOOP;
END $$;

REVOKE ALL ON ROUTINE embedsql.put_query(text, text, text), embedsql.post_query(text, text),
    embedsql.await_query(text, text, int) FROM PUBLIC;
