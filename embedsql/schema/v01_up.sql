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
    average_length double precision,         -- of a chunk, in words, as the lexical weights take it
    configurations text[],                   -- text-search configurations of rows that name their own
    similarity_mean double precision,        -- of two chunks taken at random
    similarity_deviation double precision,
    calibrated_chunks bigint,                -- how many there were when that was sampled
    tuning jsonb NOT NULL DEFAULT '{}',      -- query-time settings (SearchTuning) other than the defaults, kept by `tune --save`
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

-- The lexical lane: BM25 on tsvector and sparsevec (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009).
-- Documents and queries are read by the same functions.

-- Split and joined forms of identifiers: of ORA-00942 also 00942 and ora00942, of a/b/c.py also c.py.
-- Without positions, so that phrases and lengths are those of the words alone.
CREATE FUNCTION embedsql.identifier_lexemes(config regconfig, words text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH compound (form) AS (
        SELECT match[1] FROM unnest(ARRAY[
            '([[:alnum:]]+(?:[-._/:@\\#~=+]+[[:alnum:]]+)+)',
            '([[:alnum:]]+(?:[-._]+[[:alnum:]]+)+)',
            '([[:alnum:]]+(?:[-_]+[[:alnum:]]+)+)',
            '([[:alpha:]](?:\+\+|#))(?![[:alnum:]])',
            '([[:lower:][:digit:]]+[[:upper:]][[:alnum:]]*)'
        ]) AS pattern, regexp_matches(words, pattern, 'g') AS match
    ), form (form) AS (
        SELECT lower(form) FROM compound
        UNION SELECT lower(regexp_replace(form, '[^[:alnum:]]+', '', 'g')) FROM compound WHERE form !~ '[+#]$'
        UNION SELECT lower(substr(form, 2)) FROM compound WHERE form ~ '^[vV][[:digit:]]'
    )
    SELECT coalesce((SELECT array_to_tsvector(array_agg(form)) FROM form
                     WHERE octet_length(form) < 256 AND form <> ''), ''::tsvector)
        || coalesce((SELECT strip(to_tsvector(config, string_agg(regexp_replace(regexp_replace(
                         form, '([[:lower:][:digit:]])([[:upper:]])', '\1 \2', 'g'),
                         '[^[:alnum:]]+', ' ', 'g'), ' '))) FROM compound), ''::tsvector);
$$;

-- The lexemes of a text.
CREATE FUNCTION embedsql.lexemes(config regconfig, words text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector(config, words) || embedsql.identifier_lexemes(config, words);

-- Of a chunk: those of its heading, and of its first characters that are its row's title, carry the label A.
CREATE FUNCTION embedsql.chunk_lexemes(config regconfig, heading text, chunk text, titled int) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN setweight(embedsql.lexemes(config, concat_ws(E'\n\n', nullif(heading, ''), left(chunk, titled))), 'A')
    || embedsql.lexemes(config, substr(chunk, titled + 1));

-- A weight in a sparsevec, by lexeme: which of its 2^29 places.
CREATE FUNCTION embedsql.term_place(lexeme text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN (hashtext(lexeme COLLATE "C") & 536870911) + 1;

CREATE FUNCTION embedsql.sparse(entries text) RETURNS sparsevec
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN ('{' || coalesce(entries, '') || '}/536870912')::sparsevec;

-- Length of a text in words, as BM25 takes it.
CREATE FUNCTION embedsql.text_length(lexemes tsvector) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(cardinality(t.positions)), 0) FROM unnest(lexemes) AS t
$$;

-- Document weights, tf·(k1 + 1) / (tf + k1·(1 - b + b·length/average)), with k1 = 1.2 and b = 0.75. A lexeme of a
-- heading counts heading_weight times. A form without position counts once and adds no length.
CREATE FUNCTION embedsql.bm25_weights(lexemes tsvector, average_length double precision, heading_weight double precision)
RETURNS sparsevec
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH counted AS (
        SELECT embedsql.term_place(t.lexeme) AS place,
               coalesce(cardinality(t.weights) + (heading_weight - 1) * cardinality(array_positions(t.weights, 'A')), 1) AS tf,
               sum(cardinality(t.positions)) OVER () AS length
        FROM unnest(lexemes) AS t
    ), weighed AS (
        SELECT place, max(tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * coalesce(length, 0) / average_length))) AS weight
        FROM counted GROUP BY place
    )
    SELECT embedsql.sparse(string_agg(place || ':' || weight::real, ',')) FROM weighed
$$;

-- The text-search configuration of a name, whatever schema it is in; else the fallback.
CREATE FUNCTION embedsql.configuration(name text, fallback regconfig) RETURNS regconfig
LANGUAGE sql STABLE PARALLEL SAFE RETURN coalesce((
    SELECT c.oid::regconfig FROM pg_ts_config AS c WHERE c.cfgname = name
    ORDER BY pg_ts_config_is_visible(c.oid) DESC, c.oid LIMIT 1), fallback);

CREATE FUNCTION embedsql.quote_lexeme(lexeme text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''';

-- The best fragments of a passage as HTML, all escaped, with words of the question between <mark> tags.
CREATE FUNCTION embedsql.highlight(config regconfig, passage text, words text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(ts_headline(config, escaped.html, any_word.query,
               'StartSel=<mark>, StopSel=</mark>, MaxFragments=2, MinWords=10, MaxWords=35, FragmentDelimiter=" … "'),
               escaped.html)
    FROM (SELECT replace(replace(replace(replace(replace(
              passage, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;') AS html) AS escaped,
         (SELECT string_agg(embedsql.quote_lexeme(t.lexeme), ' | ')::tsquery AS query
          FROM unnest(embedsql.lexemes(config, left(words, 10000))) AS t) AS any_word
$$;

-- What a +word, a -word or a "phrase" matches: its words side by side, or an identifier's joined forms. Null: nothing.
CREATE FUNCTION embedsql.phrase_query(configs regconfig[], words text) RETURNS tsquery
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' AS $$
DECLARE
    found tsquery;
    one tsquery;
    config regconfig;
    form text;
BEGIN
    FOREACH config IN ARRAY configs LOOP
        one := phraseto_tsquery(config, words);
        IF numnode(one) > 0 THEN
            found := coalesce(found || one, one);
        END IF;
    END LOOP;
    IF words !~ '\s' THEN
        words := lower(regexp_replace(words, '^[^[:alnum:]]+|[^[:alnum:]+#]+$', '', 'g'));
        FOREACH form IN ARRAY ARRAY[words, regexp_replace(words, '[^[:alnum:]]+', '', 'g')] LOOP
            IF words ~ '[[:alnum:]][^[:alnum:][:space:]]' AND octet_length(form) BETWEEN 1 AND 255 THEN
                one := embedsql.quote_lexeme(form)::tsquery;
                found := coalesce(found || one, one);
            END IF;
        END LOOP;
    END IF;
    RETURN found;
END $$;

-- Reads a user's question and never raises: ranked are the words of which any may match; required is what a
-- "phrase" or +word asks for, excluded what -word or -"phrase" does; null where nothing.
CREATE FUNCTION embedsql.read_question(index_name text, config regconfig, words text, pinned int DEFAULT NULL,
    OUT configs regconfig[], OUT ranked text, OUT required tsquery, OUT excluded tsquery)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    sign text;
    phrase text;
    word text;
    one tsquery;
BEGIN
    SELECT array_agg(DISTINCT known) INTO configs FROM (
        SELECT config AS known UNION ALL
        SELECT embedsql.configuration(own, config)
        FROM embedsql.semantic_index AS i, unnest(i.configurations) AS own
        WHERE i.name = index_name
          AND CASE WHEN pinned IS NULL THEN i.state = 'serving' ELSE i.generation = pinned END) AS c;
    words := left(words, 100000);
    ranked := words;
    IF words !~ '(^|\s)[-+]?"|(^|\s)[-+][^-+[:space:]]' THEN
        RETURN;
    END IF;
    ranked := '';
    FOR sign, phrase, word IN
        SELECT m[1], m[2], m[3] FROM regexp_matches(words, '(?:^|\s)([-+]?)(?:"([^"]*)"|(\S+))', 'g') AS m LOOP
        -- a number with a sign is a number
        IF phrase IS NULL AND (sign = '' OR word ~ '^[[:digit:][:punct:]]*$' OR word ~ '^[-+[:punct:]]') THEN
            ranked := ranked || ' ' || sign || word;
            CONTINUE;
        END IF;
        one := embedsql.phrase_query(configs, coalesce(phrase, word));
        IF sign = '-' THEN
            excluded := coalesce(excluded || one, excluded, one);
        ELSE
            ranked := ranked || ' ' || coalesce(phrase, word);
            required := coalesce(required && one, required, one);
        END IF;
    END LOOP;
END $$;

-- How many rows a chunk table has: as the planner reckons, or by its first pages where it was never analyzed.
CREATE FUNCTION embedsql.estimated_chunks(chunk_table text) RETURNS double precision
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    per_page double precision;
    pages bigint;
BEGIN
    SELECT pg_relation_size(c.oid) / current_setting('block_size')::int, c.reltuples / nullif(c.relpages, 0)
    INTO pages, per_page FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'embedsql' AND c.relname = chunk_table;
    IF coalesce(per_page, 0) <= 0 THEN
        EXECUTE format('SELECT count(*) / least(100, $1::float8) FROM embedsql.%I WHERE ctid < ''(100,0)''', chunk_table)
        INTO per_page USING greatest(pages, 1);
    END IF;
    RETURN pages * per_page;
END $$;

-- A question as BM25 asks it. weights: the terms' IDFs, so that the score of a chunk is -(terms <#> weights). terms: rarest
-- first, with the most that each can add to a score. probe: what the first of them (probed) match, which is where
-- the best chunks will mostly be found.
-- How many chunks contain a lexeme is known from the planner's statistics where it is frequent, else counted:
-- nothing is kept up to date, and a table never analyzed is only slower.
CREATE FUNCTION embedsql.bm25_question(index_name text, config regconfig, words text, hits int, pinned int DEFAULT NULL,
    OUT weights sparsevec, OUT terms text[], OUT bounds double precision[], OUT probed int,
    OUT probe tsquery, OUT required tsquery)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    chunks text;
    question record;
    total double precision;
    lexemes text[];
    times int[];
    frequencies double precision[];
    counted bigint[];
BEGIN
    SELECT i.chunk_table INTO chunks FROM embedsql.semantic_index AS i
    WHERE i.name = index_name AND CASE WHEN pinned IS NULL THEN i.state = 'serving' ELSE i.generation = pinned END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no semantic index named "%"', index_name USING ERRCODE = 'ES001';
    END IF;
    question := embedsql.read_question(index_name, config, words, pinned);
    required := question.required;

    total := embedsql.estimated_chunks(chunks);

    WITH asked AS (
        SELECT lexeme, max(n) AS n FROM (
            SELECT c, t.lexeme, greatest(cardinality(t.positions), 1) AS n
            FROM unnest(question.configs) AS c, unnest(embedsql.lexemes(c, question.ranked)) AS t) AS u
        GROUP BY lexeme ORDER BY n DESC, lexeme LIMIT 128
    ), common AS (
        SELECT u.lexeme, u.frequency
        FROM pg_stats AS s, unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS u (lexeme, frequency)
        WHERE s.schemaname = 'embedsql' AND s.tablename = chunks AND s.attname = 'lexemes'
    )
    SELECT array_agg(lexeme), array_agg(n), array_agg(frequency * total)
    INTO lexemes, times, frequencies FROM asked LEFT JOIN common USING (lexeme);
    IF lexemes IS NULL THEN
        RETURN;
    END IF;

    EXECUTE format(
        'SELECT array_agg(CASE WHEN u.known IS NULL THEN
             (SELECT count(*) FROM (SELECT FROM embedsql.%I AS c WHERE c.lexemes @@ u.lexeme LIMIT 100000) AS found) END
             ORDER BY u.place)
         FROM unnest($1, $2) WITH ORDINALITY AS u (lexeme, known, place)', chunks)
    INTO counted
    USING (SELECT array_agg(embedsql.quote_lexeme(u.lexeme)::tsquery ORDER BY u.place)
           FROM unnest(lexemes) WITH ORDINALITY AS u (lexeme, place)), frequencies;

    WITH found AS (
        SELECT u.lexeme, coalesce(u.counted, u.frequency) AS df, u.n,
               greatest(total, max(coalesce(u.counted, u.frequency)) OVER ()) AS many
        FROM unnest(lexemes, times, frequencies, counted) AS u (lexeme, n, frequency, counted)
    ), weighed AS (
        SELECT lexeme, df, n * ln(1 + (many - df + 0.5) / (df + 0.5)) AS weight FROM found WHERE df > 0
    ), ordered AS (
        SELECT *, sum(df) OVER (ORDER BY weight DESC, lexeme) - df AS before FROM weighed
    ), placed AS (
        SELECT embedsql.term_place(lexeme) AS place, sum(weight) AS weight FROM weighed GROUP BY 1
    )
    SELECT (SELECT embedsql.sparse(string_agg(place || ':' || weight::real, ',')) FROM placed),
           array_agg(lexeme ORDER BY weight DESC, lexeme), array_agg(weight * 2.2 ORDER BY weight DESC, lexeme),
           count(*) FILTER (WHERE before < 10 * hits),
           string_agg(embedsql.quote_lexeme(lexeme), ' | ') FILTER (WHERE before < 10 * hits)
    INTO weights, terms, bounds, probed, probe FROM ordered;
    IF required IS NOT NULL THEN
        probe := probe && required;
    END IF;
END $$;

-- MaxScore (Turtle and Flood, 1995): what a chunk that the probe did not see must match to score above the
-- threshold. Null: no chunk can.
CREATE FUNCTION embedsql.bm25_beyond(terms text[], bounds double precision[], probed int, required tsquery, threshold double precision)
RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    many constant int := coalesce(cardinality(terms), 0);
    quoted text[];
    rest double precision[] := array_fill(0::double precision, ARRAY[many + 1]);
    clauses text[] := '{}';
    partners text[];
    found tsquery;
BEGIN
    FOR i IN REVERSE many..1 LOOP
        rest[i] := rest[i + 1] + bounds[i];
        quoted[i] := embedsql.quote_lexeme(terms[i]);
    END LOOP;
    FOR i IN coalesce(probed, 0) + 1..many LOOP
        EXIT WHEN rest[i] <= threshold;
        IF bounds[i] > threshold THEN
            clauses := clauses || quoted[i];
            CONTINUE;
        END IF;
        -- alone it is not enough: one of the others must be there, too
        partners := '{}';
        FOR j IN i + 1..many LOOP
            EXIT WHEN bounds[i] + rest[j] <= threshold;
            IF bounds[i] + bounds[j] > threshold OR many > 12 THEN
                partners := partners || quoted[j];
            ELSE
                partners := partners || (quoted[j] || ' & (' || array_to_string(quoted[j + 1:], ' | ') || ')');
            END IF;
        END LOOP;
        clauses := clauses || (quoted[i] || ' & (' || array_to_string(partners, ' | ') || ')');
    END LOOP;
    found := nullif(array_to_string(clauses, ' | '), '')::tsquery;
    RETURN CASE WHEN required IS NULL THEN found ELSE found && required END;
END $$;

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

-- int8 codes of a vector: one signed byte a dimension, in units of the largest component / 127.
-- Casts of whole arrays, which run in C: a hundred times faster than unnest.
CREATE FUNCTION embedsql.quantize(v vector, OUT codes "char"[], OUT scale real)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT (v * array_fill((1 / unit.size)::real, ARRAY[vector_dims(v)])::vector)::real[]::int[]::"char"[], unit.size::real
    FROM (SELECT max(abs(x)) / 127 AS size FROM unnest(v::real[]) AS x) AS unit;
END;

CREATE FUNCTION embedsql.dequantize(codes "char"[], scale real) RETURNS vector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT codes::int[]::vector * array_fill(scale, ARRAY[cardinality(codes)])::vector;
END;

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

-- Vectors of what was asked of late, found by what was asked; the texts themselves are not kept.
CREATE TABLE embedsql.query_vector (
    digest bytea PRIMARY KEY,                -- of the space and the exact text
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE, -- the oldest go first
    vector real[] NOT NULL
);

-- The mail-box: questions that wait, for seconds, until a worker has embedded them.
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

-- Puts a question into the mail-box, on behalf of a role; the caller commits, which tells the workers.
CREATE PROCEDURE embedsql.put_query(index_name text, query text, asked_by text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    index_number int;
    waiting bigint;
    of_role bigint;
    oldest timestamptz;
BEGIN
    IF char_length(query) > 10000 THEN
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
        RAISE EXCEPTION 'the mail-box is full: % queries wait for a worker, % of them of this role', waiting, of_role
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

-- The vector of a question, as pgvector reads it, once it is there; at most wait_ms from now.
CREATE FUNCTION embedsql.await_query(
    index_name text, query text, wait_ms int, OUT vector text, OUT space text, OUT problem text
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
DECLARE
    give_up timestamptz := clock_timestamp() + least(greatest(wait_ms, 0), 60000) * interval '1 millisecond';
    text_utf8 bytea := convert_to(query, 'UTF8');
BEGIN
    LOOP -- each round sees what was committed meanwhile
        SELECT i.space, '[' || array_to_string(v.vector, ',') || ']', r.error INTO space, vector, problem
        FROM embedsql.semantic_index AS i
        LEFT JOIN embedsql.query_vector AS v ON v.digest = sha256(sha256(convert_to(i.space, 'UTF8')) || text_utf8)
        LEFT JOIN embedsql.query_request AS r ON r.index_id = i.index_id AND r.digest = sha256(text_utf8)
        WHERE i.name = index_name AND i.state = 'serving';
        EXIT WHEN vector IS NOT NULL OR problem IS NOT NULL OR clock_timestamp() >= give_up;
        PERFORM pg_sleep(0.002);
    END LOOP;
END $$;

-- The same, of what was answered before. Nobody waits here, not even for a lock on the mail-box.
CREATE FUNCTION embedsql.known_query(index_name text, query text, OUT vector text, OUT space text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
BEGIN
    SELECT i.space, '[' || array_to_string(v.vector, ',') || ']' INTO space, vector
    FROM embedsql.semantic_index AS i
    LEFT JOIN embedsql.query_vector AS v
        ON v.digest = sha256(sha256(convert_to(i.space, 'UTF8')) || convert_to(query, 'UTF8'))
    WHERE i.name = index_name AND i.state = 'serving';
END $$;

-- Asks a running worker for a question's vector, over a connection beside the caller's transaction.
-- The connection is never a named one, which would outlive this function and be the caller's to use.
CREATE FUNCTION embedsql.ask_worker(
    index_name text, query text, wait_ms int, OUT vector text, OUT space text, OUT problem text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dblink_schema text;
    target text;
    wait_here boolean := false;
BEGIN
    SELECT a.vector, a.space INTO vector, space FROM embedsql.known_query(index_name, query) AS a;
    IF vector IS NOT NULL OR wait_ms = 0 THEN
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
            'FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host …, dbname …) and a USER MAPPING with user and password', current_user);
        RETURN;
    END IF;
    BEGIN
        EXECUTE format(
            'SELECT vector, space, problem FROM %I.dblink($1, $2) AS answer (vector text, space text, problem text)',
            dblink_schema)
        INTO vector, space, problem
        USING target, format(
            'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = 500; '
            'CALL embedsql.put_query(%1$L, %2$L, %3$L); COMMIT; BEGIN ISOLATION LEVEL READ COMMITTED; '
            || CASE WHEN wait_here THEN 'SELECT NULL::text, NULL::text, NULL::text'
               ELSE 'SELECT vector, space, problem FROM embedsql.await_query(%1$L, %2$L, %4$s)' END,
            index_name, query, session_user, wait_ms);
    EXCEPTION WHEN OTHERS THEN
        problem := SQLERRM;
        RETURN;
    END;
    IF wait_here THEN
        SELECT a.vector, a.space, a.problem INTO vector, space, problem
        FROM embedsql.await_query(index_name, query, wait_ms) AS a;
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
        ('application_name', 'embedsql mail-box'),
        ('options', format('-c statement_timeout=%s', wait_ms + 2000))
    ) AS option (name, value);
$$;

-- What a search function does before it searches: check its arguments, find the query's vector.
-- lanes is what can be searched: null for an empty query; lexical, with a notice, where a hybrid search has no vector.
CREATE FUNCTION embedsql.prepare_search(
    index_name text, query text, k int, mode text, wait_ms int, INOUT vector text, OUT lanes text, OUT space text
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lexical boolean;
    dimensions int;
    problem text;
    blank boolean := query IS NULL OR query !~ '\S';
BEGIN
    SELECT i.declaration ->> 'lexical' IS NOT NULL, i.declaration ->> 'dimensions' INTO lexical, dimensions
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
            USING ERRCODE = 'ES003', HINT = 'Ask for fewer rows, or narrow the query.';
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
    ELSIF mode <> 'lexical' AND vector IS NULL THEN
        SELECT a.vector, a.space, a.problem INTO vector, space, problem
        FROM embedsql.ask_worker(index_name, query, wait_ms) AS a;
        IF vector IS NULL THEN
            problem := coalesce(problem, format('no worker answered within %s ms; is one running (embedsql worker)?', wait_ms));
            IF mode = 'dense' THEN
                RAISE EXCEPTION 'a dense search needs the query''s vector: %', problem
                    USING ERRCODE = 'ES006', HINT = 'Give it as vector => …, or search with mode => ''lexical''.';
            END IF;
            RAISE NOTICE 'searched for words only: %', problem;
            lanes := 'lexical';
        END IF;
    END IF;
END $$;

REVOKE ALL ON ROUTINE embedsql.put_query(text, text, text), embedsql.post_query(text, text), embedsql.await_query(text, text, int),
    embedsql.known_query(text, text), embedsql.ask_worker(text, text, int), embedsql.loopback(int), embedsql.prepare_search(text, text, int, text, int, text) FROM PUBLIC;
