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

-- How far a change log has come, whether its entries are still there or were dealt with.
CREATE FUNCTION embedsql.last_change(log_table text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_sequence_last_value(pg_get_serial_sequence(format('embedsql.%I', log_table), 'seq'))
$$;

-- A question as BM25 asks it:
--   weights   the terms' IDFs: the score of a chunk is -(terms <#> weights)
--   terms     the terms that some chunk has, rarest first
--   bounds    the most that each of these can add to a score
--   probed    how many of them, from the first, make the probe
--   probe     what these match: that is where the best chunks will mostly be found
--   required  what +words and "phrases" demand of a chunk
--   demand    the score of a chunk that has every term once; terms that no chunk has are included, with the greatest weight
--   crowded   whether to ask the approximate index on the weights: the caller allows it, it is there, and the terms beyond
--             the probe are in more than 5,000 chunks. A term that is in as many by itself is never in the probe then.
-- How many chunks contain a lexeme is known from the planner's statistics where it is frequent, and counted elsewhere:
-- nothing has to be kept up to date, and a table that was never analyzed is only slower.
CREATE FUNCTION embedsql.bm25_question(index_name text, config regconfig, words text, hits int, pinned int DEFAULT NULL,
    approximate boolean DEFAULT false,
    OUT weights sparsevec, OUT terms text[], OUT bounds double precision[], OUT probed int,
    OUT probe tsquery, OUT required tsquery, OUT demand double precision, OUT crowded boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    chunks text;
    learned boolean;
    question record;
    total double precision;
    lexemes text[];
    times int[];
    frequencies double precision[];
    counted bigint[];
BEGIN
    SELECT i.chunk_table, jsonb_exists(i.space::jsonb, 'sparse') INTO chunks, learned FROM embedsql.semantic_index AS i
    WHERE i.name = index_name AND CASE WHEN pinned IS NULL THEN i.state = 'serving' ELSE i.generation = pinned END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no semantic index named "%"', index_name USING ERRCODE = 'ES001';
    ELSIF learned THEN
        RAISE EXCEPTION 'the words of "%" are weighed by a sparse encoder, not by BM25', index_name
            USING ERRCODE = 'ES002', HINT = 'Search with the declaration that it has now.';
    END IF;
    question := embedsql.read_question(index_name, config, words, pinned);
    required := question.required;

    total := embedsql.estimated_chunks(chunks);
    approximate := approximate AND EXISTS (
        SELECT FROM pg_index AS i JOIN pg_opclass AS o ON o.oid = i.indclass[0]
        WHERE i.indrelid = to_regclass(format('embedsql.%I', chunks)) AND i.indisvalid AND o.opcname = 'sparsevec_ip_ops');

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
        SELECT lexeme, df, n * ln(1 + (many - df + 0.5) / (df + 0.5)) AS weight FROM found
    ), ordered AS (
        SELECT *, sum(df) OVER rarest - df AS before,
               approximate AND bool_or(df > 5000) OVER rarest AS common
        FROM weighed WHERE df > 0 WINDOW rarest AS (ORDER BY weight DESC, lexeme)
    ), placed AS (
        -- words that no chunk has, included: a row that waits to be embedded may have them
        SELECT embedsql.term_place(lexeme) AS place, sum(weight) AS weight FROM weighed GROUP BY 1
    )
    SELECT (SELECT embedsql.sparse(string_agg(place || ':' || weight::real, ',')) FROM placed),
           array_agg(lexeme ORDER BY weight DESC, lexeme), array_agg(weight * 2.2 ORDER BY weight DESC, lexeme),
           count(*) FILTER (WHERE before < 10 * hits AND NOT common),
           string_agg(embedsql.quote_lexeme(lexeme), ' | ') FILTER (WHERE before < 10 * hits AND NOT common),
           (SELECT sum(weight) FROM weighed),
           approximate AND coalesce(sum(df) FILTER (WHERE before >= 10 * hits OR common), 0) > 5000
    INTO weights, terms, bounds, probed, probe, demand, crowded FROM ordered;
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
