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

-- The lexemes of a text. Most prose holds no identifier: to see that takes a tenth of looking for their forms.
CREATE FUNCTION embedsql.lexemes(config regconfig, words text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector(config, words) || CASE
    WHEN words ~ '[[:alnum:]][-._/:@\\#~=+]+[[:alnum:]]|[[:alpha:]](?:\+\+|#)|[[:lower:][:digit:]][[:upper:]]'
    THEN embedsql.identifier_lexemes(config, words) ELSE ''::tsvector END;

-- The lexemes of a chunk. Those of its heading, and of its first characters (titled) that are its row's title, have label A.
CREATE FUNCTION embedsql.chunk_lexemes(config regconfig, heading text, chunk text, titled int) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN titled = 0 AND coalesce(heading, '') = '' THEN embedsql.lexemes(config, chunk)
    ELSE setweight(embedsql.lexemes(config, concat_ws(E'\n\n', nullif(heading, ''), left(chunk, titled))), 'A')
        || embedsql.lexemes(config, substr(chunk, titled + 1))
    END;

-- Where a lexeme's weight stands among the 2^29 places of a sparsevec: by its hash.
CREATE FUNCTION embedsql.term_place(lexeme text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN (hashtext(lexeme COLLATE "C") & 536870911) + 1;

CREATE FUNCTION embedsql.sparse(entries text) RETURNS sparsevec
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN ('{' || coalesce(entries, '') || '}/536870912')::sparsevec;

-- Length of a text in words, as BM25 takes it.
CREATE FUNCTION embedsql.text_length(lexemes tsvector) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(cardinality(t.positions)), 0) FROM unnest(lexemes) AS t
$$;

-- Document weights, tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average)), with k1 = 1.2 and b = 0.75. A lexeme of a
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
        ORDER BY weight DESC, place LIMIT 16000 -- a sparsevec holds no more
    )
    SELECT embedsql.sparse(string_agg(place || ':' || weight::real, ',')) FROM weighed
$$;

-- The heaviest of a chunk's weights, as many as an HNSW index takes.
CREATE FUNCTION embedsql.heaviest_terms(terms sparsevec) RETURNS sparsevec
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (SELECT embedsql.sparse(string_agg(entry, ',')) FROM (
    SELECT entry FROM unnest(string_to_array(btrim(split_part(terms::text, '/', 1), '{}'), ',')) AS entry
    ORDER BY split_part(entry, ':', 2)::real DESC, entry LIMIT 1000) AS kept);

-- What an HNSW index holds of a chunk's weights: mostly all of them, which costs next to nothing as long as PostgreSQL
-- inlines this function. It would not inline a STRICT one.
CREATE FUNCTION embedsql.indexed_terms(terms sparsevec) RETURNS sparsevec
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN octet_length(sparsevec_send(terms)) <= 12 + 8 * 1000 THEN terms ELSE embedsql.heaviest_terms(terms) END;

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
               'StartSel=<mark>, StopSel=</mark>, MaxFragments=2, MinWords=10, MaxWords=35, FragmentDelimiter=" ... "'),
               escaped.html)
    FROM (SELECT replace(replace(replace(replace(replace(
              passage, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;') AS html) AS escaped,
         (SELECT string_agg(embedsql.quote_lexeme(t.lexeme), ' | ')::tsquery AS query
          FROM unnest(embedsql.lexemes(config, left(words, 10000))) AS t) AS any_word
$$;
