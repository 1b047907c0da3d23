-- Version 1 of the kit's schema. Never edited after a release: a change is a new version.
-- Names are stored as text, not as reg* types, which would block pg_upgrade.

CREATE SCHEMA embedsql;
COMMENT ON SCHEMA embedsql IS 'embedsql: semantic search. Public: semantic_index, status, dead_letter; the rest may change.';

CREATE TABLE embedsql.installation (
    version int NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_installation CHECK (version > 0)
);
CREATE UNIQUE INDEX installation_single ON embedsql.installation ((true));
INSERT INTO embedsql.installation (version) VALUES (1);

-- The registry: one row for each generation of a semantic index, of which one serves searches.
CREATE TABLE embedsql.semantic_index (
    index_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    source_schema text NOT NULL,
    source_table text NOT NULL,
    declaration jsonb NOT NULL,              -- IndexSpec, as JSON
    space text,                              -- of the stored vectors; null until the first is made
    generation int NOT NULL DEFAULT 1,       -- which build of the tables below this is
    state text NOT NULL DEFAULT 'serving',   -- of a model change; but for 'dropping', all are kept up to date
    log_table text NOT NULL,
    batch_table text NOT NULL,
    row_table text NOT NULL,
    chunk_table text NOT NULL,
    chunk_view text NOT NULL,
    trigger_functions text[] NOT NULL,
    backfill_since timestamptz DEFAULT now(), -- rows that no log row speaks of are looked for; null: they are not
    backfill_after text[],                   -- the key up to which they have been found; null: from the first
    problem text,                            -- why workers leave this index alone; null: they do not
    comparison jsonb,                        -- of this generation with the one it is to follow
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT semantic_index_generation_unique UNIQUE (name, generation),
    CONSTRAINT semantic_index_state_known
        CHECK (state IN ('building', 'ready', 'switching', 'serving', 'retired', 'dropping'))
);
CREATE UNIQUE INDEX semantic_index_serving ON embedsql.semantic_index (name) WHERE state = 'serving';

-- Somebody inserted more rows than a transaction logs one by one: a backfill finds them.
-- Only ever appended to by an application's transactions, so that they never wait for one another.
CREATE TABLE embedsql.bulk_insert (
    index_id int NOT NULL,                   -- no foreign key, whose check would lock the registry's row
    at timestamptz NOT NULL DEFAULT now()
);

-- Who works: a row for each worker, renewed every few seconds.
CREATE TABLE embedsql.worker (
    worker text PRIMARY KEY,
    release text NOT NULL,                   -- of the package
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    rates jsonb NOT NULL DEFAULT '{}',       -- rows a second of late, by index
    saved bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    embedded bigint NOT NULL DEFAULT 0,
    reused bigint NOT NULL DEFAULT 0
);

-- Keys that failed: waiting for their next attempt, back in the change log, or dead.
CREATE TABLE embedsql.failure (
    index_id int NOT NULL REFERENCES embedsql.semantic_index ON DELETE CASCADE,
    key jsonb NOT NULL,                      -- a scalar for a key of one column, else an object
    version bigint NOT NULL,                 -- log sequence that failed; a later one is an edit, which starts afresh
    attempts int NOT NULL,
    next_attempt_at timestamptz,             -- null: not waiting (dead, or back in the change log)
    dead boolean NOT NULL,
    error_class text NOT NULL,
    error text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (index_id, key),
    CONSTRAINT failure_error_bounded CHECK (char_length(error) <= 1000),
    CONSTRAINT failure_dead_does_not_wait CHECK (NOT dead OR next_attempt_at IS NULL)
);

CREATE VIEW embedsql.dead_letter AS
SELECT i.name AS index, f.key, f.error_class, f.error, f.attempts, f.since, i.generation
FROM embedsql.failure AS f
JOIN embedsql.semantic_index AS i USING (index_id)
WHERE f.dead;

-- A query in which any term may match, made by the same parser as the documents' lexemes.
-- Never raises on a user's text; null where no term is left (stop words only).
CREATE FUNCTION embedsql.any_term_query(config regconfig, words text) RETURNS tsquery
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')::tsquery
    FROM unnest(to_tsvector(config, words));
$$;

-- Refuses a query embedded in another space than the index's vectors.
-- The index's generation is the one that serves, unless the search is pinned to one.
CREATE FUNCTION embedsql.require_space(index_name text, query_space text, pinned int DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored text;
BEGIN
    SELECT i.space INTO stored FROM embedsql.semantic_index AS i
    WHERE i.name = index_name AND CASE WHEN pinned IS NULL THEN i.state = 'serving'
                                       ELSE i.generation = pinned AND i.state <> 'dropping' END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no semantic index named "%"%', index_name,
            coalesce(' with a generation ' || pinned, '') USING ERRCODE = 'ES001';
    END IF;
    IF stored IS DISTINCT FROM query_space AND stored IS NOT NULL AND query_space IS NOT NULL THEN
        RAISE EXCEPTION 'the query was embedded in another space than the vectors of "%": query %, index %',
            index_name, query_space, stored USING ERRCODE = 'ES002',
            HINT = 'after a model change, deploy the declaration with the new model';
    END IF;
    RETURN true;
END $$;

-- Guards the views of a generation that was switched to. They are found as the catalogue is now, but
-- a REPEATABLE READ transaction may see rows from before the switch: vectors of two spaces would meet.
CREATE FUNCTION embedsql.require_serving(index_name text, wanted int) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM embedsql.semantic_index AS i
        WHERE i.name = index_name AND i.generation = wanted AND i.state = 'serving'
    ) THEN
        RAISE EXCEPTION 'the semantic index "%" was switched to another generation after this transaction began',
            index_name USING ERRCODE = 'serialization_failure', HINT = 'Retry the transaction.';
    END IF;
    RETURN true;
END $$;

-- Refuses a generation that is not filled, or gone.
CREATE FUNCTION embedsql.require_ready(index_name text, wanted int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM embedsql.semantic_index AS i
        WHERE i.name = index_name AND i.generation = wanted AND i.state IN ('ready', 'switching', 'retired')
    ) THEN
        RAISE EXCEPTION 'generation % of "%" is not ready to serve', wanted, index_name USING ERRCODE = 'ES003',
            HINT = format('First: embedsql reembed %s --no-switch', index_name);
    END IF;
END $$;

-- What roles may do with one relation of ours, they may do with another that takes its place.
CREATE FUNCTION embedsql.copy_grants(source text, target text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT a.grantee, a.privilege_type, a.is_grantable, NULL::name AS attname
        FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.oid = source::regclass AND a.grantee <> c.relowner
        UNION ALL SELECT a.grantee, a.privilege_type, a.is_grantable, t.attname
        FROM pg_attribute AS t, aclexplode(t.attacl) AS a WHERE t.attrelid = source::regclass
    LOOP
        EXECUTE format('GRANT %s%s ON %s TO %s%s', granted.privilege_type,
            CASE WHEN granted.attname IS NULL THEN '' ELSE format(' (%I)', granted.attname) END, target::regclass,
            CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END,
            CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
END $$;

-- Removes a generation and all it made; the views that serve searches must not be its own.
CREATE FUNCTION embedsql.drop_generation(generation_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
    entry record;
    function_name text;
BEGIN
    SELECT * INTO entry FROM embedsql.semantic_index WHERE index_id = generation_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOREACH function_name IN ARRAY entry.trigger_functions LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS embedsql.%I() CASCADE', function_name);  -- and its trigger
    END LOOP;
    EXECUTE format('DROP VIEW IF EXISTS embedsql.%I', entry.chunk_view);
    EXECUTE format('DROP TABLE IF EXISTS embedsql.%I, embedsql.%I, embedsql.%I, embedsql.%I',
        entry.chunk_table, entry.row_table, entry.batch_table, entry.log_table);
    DELETE FROM embedsql.bulk_insert WHERE index_id = generation_id;
    DELETE FROM embedsql.semantic_index WHERE index_id = generation_id;
END $$;

-- What stands in each index's own tables, counted now.
CREATE FUNCTION embedsql.index_status() RETURNS TABLE (
    index text, rows bigint, chunks bigint, pending bigint, leased bigint, dead bigint, blank bigint,
    truncated bigint, oldest_pending_seconds double precision, rate double precision, bytes bigint, problem text,
    generation int, state text
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry record;
    there boolean;
    key_list text;
    row_match text;
    log_match text;
    key_json text;
    waiting bigint;
    unlogged bigint;
    oldest timestamptz;
BEGIN
    FOR entry IN SELECT i.* FROM embedsql.semantic_index AS i ORDER BY i.name, i.generation LOOP
        index := entry.name;
        generation := entry.generation;
        state := entry.state;
        problem := entry.problem;
        SELECT string_agg('key_' || position, ', ' ORDER BY position),
               string_agg(format('r.key_%s = s.%I', position, part ->> 'name'), ' AND '),
               string_agg(format('l.key_%s = s.%I', position, part ->> 'name'), ' AND '),
               CASE count(*) WHEN 1 THEN format('to_jsonb(s.%I)', min(part ->> 'name'))
                   ELSE 'jsonb_build_object(' || string_agg(format('%L, s.%I', part ->> 'name', part ->> 'name'), ', ') || ')' END
        INTO key_list, row_match, log_match, key_json
        FROM jsonb_array_elements(entry.declaration -> 'key') WITH ORDINALITY AS k (part, position);

        rows := 0;
        there := to_regclass(format('%I.%I', entry.source_schema, entry.source_table)) IS NOT NULL;
        IF there THEN
            EXECUTE format('SELECT count(*) FROM %I.%I', entry.source_schema, entry.source_table) INTO rows;
        ELSE
            problem := coalesce(problem, format('the table %I.%I is not there', entry.source_schema, entry.source_table));
        END IF;
        EXECUTE format('SELECT count(*) FROM embedsql.%I', entry.chunk_table) INTO chunks;
        EXECUTE format('SELECT coalesce(sum(cardinality(versions)), 0) FROM embedsql.%I', entry.batch_table)
        INTO leased;
        EXECUTE format(
            'SELECT count(*) FROM (SELECT DISTINCT %1$s FROM embedsql.%2$I
               EXCEPT SELECT u.* FROM embedsql.%3$I AS b, unnest(%4$s) AS u) AS waiting',
            key_list, entry.log_table, entry.batch_table, replace(key_list, 'key_', 'b.keys_'))
        INTO pending;
        EXECUTE format('SELECT min(at) FROM embedsql.%I', entry.log_table) INTO oldest;
        SELECT least(oldest, entry.backfill_since, min(b.at)) INTO oldest
        FROM embedsql.bulk_insert AS b WHERE b.index_id = entry.index_id;
        unlogged := 0;
        IF there AND (entry.backfill_since IS NOT NULL
            OR EXISTS (SELECT FROM embedsql.bulk_insert AS b WHERE b.index_id = entry.index_id)) THEN
            EXECUTE format(
                'SELECT count(*) FROM %1$I.%2$I AS s
                 WHERE NOT EXISTS (SELECT FROM embedsql.%3$I AS r WHERE %4$s)
                   AND NOT EXISTS (SELECT FROM embedsql.%5$I AS l WHERE %6$s)
                   AND NOT EXISTS (SELECT FROM (SELECT u.* FROM embedsql.%7$I AS b, unnest(%8$s) AS u) AS l (%9$s) WHERE %6$s)
                   AND NOT EXISTS (SELECT FROM embedsql.failure AS f WHERE f.index_id = %10$s AND f.key = %11$s)',
                entry.source_schema, entry.source_table, entry.row_table, row_match, entry.log_table, log_match,
                entry.batch_table, replace(key_list, 'key_', 'b.keys_'), key_list, entry.index_id, key_json)
            INTO unlogged;
        END IF;
        oldest_pending_seconds := extract(epoch FROM clock_timestamp() - oldest);
        SELECT coalesce(sum((w.rates ->> concat(entry.name, CASE WHEN state <> 'serving' THEN ' generation ' || generation END))::double precision), 0) INTO rate
        FROM embedsql.worker AS w WHERE w.seen_at > clock_timestamp() - interval '1 minute';
        SELECT count(*) FILTER (WHERE f.dead), count(*) FILTER (WHERE f.next_attempt_at IS NOT NULL)
        INTO dead, waiting FROM embedsql.failure AS f WHERE f.index_id = entry.index_id;
        pending := pending + waiting + unlogged;
        EXECUTE format(
            'SELECT count(*) FILTER (WHERE chunks = 0), count(*) FILTER (WHERE truncated) FROM embedsql.%I',
            entry.row_table) INTO blank, truncated;
        SELECT sum(pg_total_relation_size(format('embedsql.%I', name)::regclass)) INTO bytes
        FROM unnest(ARRAY[entry.log_table, entry.batch_table, entry.row_table, entry.chunk_table]) AS name;
        RETURN NEXT;
    END LOOP;
END $$;

CREATE VIEW embedsql.status AS
SELECT index, rows, chunks, pending, leased, dead, blank, truncated, oldest_pending_seconds, rate, bytes, problem, generation
FROM embedsql.index_status() WHERE state = 'serving';

-- The generations that do not serve: the next one of a model change, or the one before.
CREATE VIEW embedsql.model_change AS
SELECT index, generation, state, rows, chunks, pending, leased, dead, oldest_pending_seconds, rate, bytes, problem
FROM embedsql.index_status() WHERE state <> 'serving';
