-- What a search function does before it searches.

-- The vector of a question that was answered before. Nobody waits here, not even for a lock on the mailbox.
CREATE FUNCTION embedsql.known_query(index_name text, query text, OUT vector text, OUT terms text, OUT space text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
BEGIN
    SELECT i.space, '[' || array_to_string(v.vector, ',') || ']', v.terms INTO space, vector, terms
    FROM embedsql.semantic_index AS i
    LEFT JOIN embedsql.query_vector AS v
        ON v.digest = sha256(sha256(convert_to(i.space, 'UTF8')) || convert_to(query, 'UTF8'))
    WHERE i.name = index_name AND i.state = 'serving';
END $$;

-- Asks a running worker for a question's vector, over a connection beside the caller's transaction.
-- The connection is never a named one, which would outlive this function and be the caller's to use.
CREATE FUNCTION embedsql.ask_worker(
    index_name text, query text, wait_ms int, OUT vector text, OUT space text, OUT problem text, OUT terms text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dblink_schema text;
    target text;
    taken boolean;
    wait_here boolean := false;
BEGIN
    SELECT a.vector, a.terms, a.space INTO vector, terms, space FROM embedsql.known_query(index_name, query) AS a;
    IF vector IS NOT NULL THEN
        RETURN;
    ELSIF wait_ms = 0 THEN
        problem := 'nobody asked for it of late, and with wait_ms => 0 no worker is asked';
        RETURN;
    END IF;
    SELECT n.nspname INTO dblink_schema
    FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'dblink';
    IF dblink_schema IS NULL THEN
        problem := 'asking a worker takes the extension dblink (CREATE EXTENSION dblink), or give the query''s vector';
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'embedsql_loopback') THEN
        target := 'embedsql_loopback';
    ELSIF pg_is_in_recovery() THEN
        problem := 'a standby takes no questions; a foreign server embedsql_loopback may name the primary';
        RETURN;
    ELSIF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        target := embedsql.loopback(wait_ms);
        -- each round of the wait sees what is committed, as a later snapshot of this transaction does;
        -- a session that waits already is quicker than a new one, which has all to look up
        wait_here := current_setting('transaction_isolation') = 'read committed';
    ELSE
        problem := format('asking a worker takes a way back into this database: as %I, CREATE SERVER embedsql_loopback '
            'FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host ..., dbname ...) and a USER MAPPING with user and password', current_user);
        RETURN;
    END IF;
    BEGIN
        EXECUTE format(
            'SELECT vector, terms, space, problem, taken FROM %I.dblink($1, $2)'
            ' AS answer (vector text, terms text, space text, problem text, taken boolean)', dblink_schema)
        INTO vector, terms, space, problem, taken
        USING target, format(
            'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = 500; '
            'CALL embedsql.put_query(%1$L, %2$L, %3$L); COMMIT; BEGIN ISOLATION LEVEL READ COMMITTED; '
            || CASE WHEN wait_here THEN 'SELECT NULL::text, NULL::text, NULL::text, NULL::text, NULL::boolean'
               ELSE 'SELECT vector, terms, space, problem, taken FROM embedsql.await_query(%1$L, %2$L, %4$s)' END,
            index_name, query, session_user, wait_ms);
    EXCEPTION WHEN OTHERS THEN
        problem := SQLERRM;
        RETURN;
    END;
    IF wait_here THEN
        SELECT a.vector, a.terms, a.space, a.problem, a.taken INTO vector, terms, space, problem, taken
        FROM embedsql.await_query(index_name, query, wait_ms) AS a;
    END IF;
    IF space <> (SELECT i.space FROM embedsql.semantic_index AS i WHERE i.name = index_name AND i.state = 'serving') THEN
        vector := NULL; -- of a switch that a standby, or a transaction that began before it, does not see yet
        terms := NULL;
        problem := 'a worker answered for another generation of the index than serves here';
    ELSIF vector IS NULL AND problem IS NULL THEN
        problem := CASE WHEN taken
            THEN format('a worker took it, and its model did not answer within %s ms: %s', wait_ms, coalesce(
                (SELECT i.problem FROM embedsql.semantic_index AS i WHERE i.name = index_name AND i.state = 'serving'),
                'its log says why, or wait_ms => ... waits longer'))
            ELSE format('no worker answered within %s ms; is one running (embedsql worker)?', wait_ms) END;
    END IF;
END $$;

-- A connection string from the server to itself: its socket, this database, the owner of the kit.
CREATE FUNCTION embedsql.loopback(wait_ms int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(format('%s=''%s''', name, replace(replace(value, '\', '\\'), '''', '\''')), ' ')
    FROM (VALUES
        ('dbname', current_database()::text),
        ('user', current_user::text),
        ('port', current_setting('port')),
        ('host', coalesce(nullif(btrim(split_part(current_setting('unix_socket_directories'), ',', 1), ' "'), ''), 'localhost')),
        ('connect_timeout', '2'),
        ('application_name', 'embedsql mailbox'),
        ('options', format('-c statement_timeout=%s', wait_ms + 2000))
    ) AS option (name, value);
$$;

-- What a search function does before it searches: check its arguments, find the query's vector.
-- lanes is what can be searched: null for an empty query; one, with a notice, where a hybrid search lacks what the other needs.
-- terms are a sparse encoder's, where the index has one: its lexical lane needs them as the dense lane needs the vector.
CREATE FUNCTION embedsql.prepare_search(
    index_name text, query text, k int, mode text, wait_ms int, INOUT vector text, INOUT terms text, OUT lanes text, OUT space text
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lexical boolean;
    learned boolean;
    dimensions int;
    given text := vector;
    given_terms text := terms;
    problem text;
    blank boolean := query IS NULL OR query !~ '\S';
BEGIN
    SELECT i.declaration ->> 'lexical' IS NOT NULL, i.declaration ->> 'sparse_model' IS NOT NULL, i.declaration ->> 'dimensions'
    INTO lexical, learned, dimensions
    FROM embedsql.semantic_index AS i WHERE i.name = index_name AND i.state = 'serving';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no semantic index named "%"', index_name USING ERRCODE = 'ES001';
    END IF;
    IF mode IS NULL OR mode NOT IN ('hybrid', 'dense', 'lexical') THEN
        RAISE EXCEPTION 'no such mode: %', coalesce(quote_literal(mode), 'null')
            USING ERRCODE = 'ES003', HINT = 'Take ''hybrid'', ''dense'' or ''lexical''.';
    ELSIF mode <> 'dense' AND NOT lexical THEN
        RAISE EXCEPTION 'the index "%" was made without a lexical lane', index_name
            USING ERRCODE = 'ES003', HINT = 'Search it with mode => ''dense''.';
    ELSIF k IS NULL OR k NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'k must be 1 to 1000 rows, not %', coalesce(k::text, 'null')
            USING ERRCODE = 'ES003', HINT = CASE WHEN k > 1000 THEN 'Ask for fewer rows, or narrow the query.'
                ELSE 'Leave k out for 10 rows.' END;
    ELSIF wait_ms IS NULL OR wait_ms NOT BETWEEN 0 AND 60000 THEN
        RAISE EXCEPTION 'wait_ms must be 0 to 60000 milliseconds, not %', coalesce(wait_ms::text, 'null')
            USING ERRCODE = 'ES003', HINT = 'It is how long a worker may take to embed the query.';
    ELSIF char_length(query) > 1048576 THEN
        RAISE EXCEPTION 'the query has % characters; 1048576 is the most', char_length(query)
            USING ERRCODE = 'ES004', HINT = 'Search with a passage of it.';
    ELSIF cardinality(string_to_array(vector, ',')) <> dimensions THEN
        RAISE EXCEPTION 'the query''s vector has % dimensions, the index %', cardinality(string_to_array(vector, ',')), dimensions
            USING ERRCODE = 'ES005', HINT = 'Embed the query with the index''s own model.';
    END IF;
    lanes := CASE WHEN mode = 'hybrid' AND blank THEN 'dense' ELSE mode END;
    IF blank AND (vector IS NULL OR mode = 'lexical') THEN
        RAISE NOTICE 'the query is empty';
        lanes := NULL;
        RETURN;
    END IF;
    IF mode <> 'lexical' AND vector IS NULL OR learned AND lanes <> 'dense' AND terms IS NULL THEN
        SELECT a.vector, a.terms, a.space, a.problem INTO vector, terms, space, problem
        FROM embedsql.ask_worker(index_name, query, wait_ms) AS a;
        terms := coalesce(given_terms, terms);
        IF given IS NOT NULL THEN
            vector := given;
            space := NULL; -- it may be another's; the terms were made for this very index
        END IF;
    END IF;
    IF mode <> 'lexical' AND vector IS NULL THEN
        IF mode = 'dense' OR learned THEN
            RAISE EXCEPTION 'a % search needs the query''s vector: %', mode, problem
                USING ERRCODE = 'ES006', HINT = CASE WHEN learned THEN 'Give it as vector => ..., or run a worker.'
                    ELSE 'Give it as vector => ..., or search with mode => ''lexical''.' END;
        END IF;
        RAISE NOTICE 'searched for words only: %', problem;
        lanes := 'lexical';
    ELSIF learned AND lanes <> 'dense' AND terms IS NULL THEN
        IF mode = 'lexical' THEN
            RAISE EXCEPTION 'a lexical search needs the query''s terms: %', problem
                USING ERRCODE = 'ES006', HINT = 'Give them as terms => ..., run a worker, or search with a vector and mode => ''dense''.';
        END IF;
        RAISE NOTICE 'searched by meaning only: %', problem;
        lanes := 'dense';
    END IF;
END $$;

REVOKE ALL ON ROUTINE embedsql.known_query(text, text), embedsql.ask_worker(text, text, int), embedsql.loopback(int),
    embedsql.prepare_search(text, text, int, text, int, text, text) FROM PUBLIC;
