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

-- Guards the views after a switch. A REPEATABLE READ transaction that began before it finds the new views,
-- since the catalogue is read as it is now, but the old rows: vectors of two spaces would meet.
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

-- Before a revision drops an index to make it anew: a temporary table keeps what roles may do with its objects.
CREATE FUNCTION embedsql.keep_grants(relations text[], search_function text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    DROP TABLE IF EXISTS pg_temp.embedsql_kept;  -- of a revision that failed where none is a transaction
    CREATE TEMPORARY TABLE embedsql_kept AS
    SELECT r.place, t.attname, c.relrowsecurity AS hidden, a.privilege_type, a.is_grantable,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
    FROM unnest(relations) WITH ORDINALITY AS r (name, place)
    JOIN pg_class AS c ON c.oid = to_regclass(r.name),
    LATERAL (SELECT NULL::name AS attname, c.relacl AS acl
             UNION ALL SELECT attname, attacl FROM pg_attribute WHERE attrelid = c.oid) AS t,
    aclexplode(t.acl) AS a
    WHERE a.grantee <> c.relowner
    UNION ALL SELECT NULL, NULL, false, a.privilege_type, a.is_grantable,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
    FROM pg_proc AS p, aclexplode(p.proacl) AS a
    WHERE p.oid = to_regproc(search_function) AND a.grantee <> p.proowner;
END $$;

-- Afterwards: grants the same on the objects made instead, listed in the same order. Where policies hid rows of the old ones,
-- they are made first.
CREATE FUNCTION embedsql.grant_again(relations text[], search_function text, policies text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    policy text;
    kept record;
BEGIN
    IF EXISTS (SELECT FROM embedsql_kept WHERE hidden) THEN
        FOREACH policy IN ARRAY policies LOOP
            EXECUTE policy;
        END LOOP;
    END IF;
    FOR kept IN
        SELECT * FROM embedsql_kept AS k
        WHERE k.attname IS NULL OR EXISTS (SELECT FROM pg_attribute AS t
            WHERE t.attrelid = relations[k.place]::regclass AND t.attname = k.attname AND NOT t.attisdropped)
    LOOP
        EXECUTE format('GRANT %s%s ON %s TO %s%s', kept.privilege_type,
            CASE WHEN kept.attname IS NULL THEN '' ELSE format(' (%I)', kept.attname) END,
            CASE WHEN kept.place IS NULL THEN format('FUNCTION %s', search_function::regproc)
                 ELSE relations[kept.place] END,
            kept.grantee, CASE WHEN kept.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
    DROP TABLE embedsql_kept;
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
    -- batches first, as a worker does when it claims or writes: the other way round, the two could deadlock
    EXECUTE format('DROP TABLE IF EXISTS embedsql.%I, embedsql.%I, embedsql.%I, embedsql.%I',
        entry.batch_table, entry.row_table, entry.chunk_table, entry.log_table);
    DELETE FROM embedsql.bulk_insert AS b WHERE (b.name, b.generation) = (entry.name, entry.generation);
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
