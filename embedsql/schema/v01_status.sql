-- What stands in each index's own tables, counted now; of one index, if named. Without counting, only what waits is told, by an
-- estimate of what a backfill is still to find: a scrape every few seconds must not read the tables.
CREATE FUNCTION embedsql.index_status(only_index text DEFAULT NULL, counting boolean DEFAULT true) RETURNS TABLE (
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
    FOR entry IN
        SELECT i.index_id, i.name, i.generation, i.state, i.problem, i.declaration, i.backfill_since,
            i.source_schema, i.source_table, i.log_table, i.batch_table, i.row_table, i.chunk_table
        FROM embedsql.semantic_index AS i WHERE i.name = coalesce(only_index, i.name) ORDER BY i.name, i.generation
    LOOP
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

        there := to_regclass(format('%I.%I', entry.source_schema, entry.source_table)) IS NOT NULL;
        IF NOT there THEN
            problem := coalesce(problem, format('the table %I.%I is not there', entry.source_schema, entry.source_table));
        END IF;
        IF counting THEN
            rows := 0;
            IF there THEN  -- before any table of ours, as a TRUNCATE of it
                EXECUTE format('SELECT count(*) FROM %I.%I', entry.source_schema, entry.source_table) INTO rows;
            END IF;
            EXECUTE format('SELECT count(*) FROM embedsql.%I', entry.chunk_table) INTO chunks;
            EXECUTE format(
                'SELECT count(*) FILTER (WHERE chunks = 0), count(*) FILTER (WHERE truncated) FROM embedsql.%I',
                entry.row_table) INTO blank, truncated;
            SELECT sum(pg_total_relation_size(format('embedsql.%I', name)::regclass)) INTO bytes
            FROM unnest(ARRAY[entry.log_table, entry.batch_table, entry.row_table, entry.chunk_table]) AS name;
        END IF;
        EXECUTE format('SELECT coalesce(sum(cardinality(versions)), 0) FROM embedsql.%I', entry.batch_table)
        INTO leased;
        EXECUTE format(
            'SELECT count(*) FROM (SELECT DISTINCT %1$s FROM embedsql.%2$I
               EXCEPT SELECT u.* FROM embedsql.%3$I AS b, unnest(%4$s) AS u) AS waiting',
            key_list, entry.log_table, entry.batch_table, replace(key_list, 'key_', 'b.keys_'))
        INTO pending;
        EXECUTE format('SELECT min(at) FROM embedsql.%I', entry.log_table) INTO oldest;
        unlogged := 0;
        IF there AND (entry.backfill_since IS NOT NULL
            OR EXISTS (SELECT FROM embedsql.bulk_insert AS b WHERE (b.name, b.generation) = (entry.name, entry.generation))) THEN
            IF counting THEN
                BEGIN
                    EXECUTE format(
                        'SELECT count(*) FROM %1$I.%2$I AS s
                         WHERE NOT EXISTS (SELECT FROM embedsql.%3$I AS r WHERE %4$s)
                           AND NOT EXISTS (SELECT FROM embedsql.%5$I AS l WHERE %6$s)
                           AND NOT EXISTS (SELECT FROM (SELECT u.* FROM embedsql.%7$I AS b, unnest(%8$s) AS u) AS l (%9$s) WHERE %6$s)
                           AND NOT EXISTS (SELECT FROM embedsql.failure AS f WHERE f.index_id = %10$s AND f.key = %11$s)',
                        entry.source_schema, entry.source_table, entry.row_table, row_match, entry.log_table, log_match,
                        entry.batch_table, replace(key_list, 'key_', 'b.keys_'), key_list, entry.index_id, key_json)
                    INTO unlogged;
                EXCEPTION WHEN undefined_column THEN
                    problem := coalesce(problem, 'a column of its key is gone: embedsql doctor says what mends that');
                END;
            ELSE
                SELECT greatest(0, sum(pg_stat_get_live_tuples(part))
                    - pg_stat_get_live_tuples(format('embedsql.%I', entry.row_table)::regclass) - pending - leased)
                INTO unlogged FROM (
                    SELECT format('%I.%I', entry.source_schema, entry.source_table)::regclass AS part
                    UNION SELECT relid FROM pg_partition_tree(format('%I.%I', entry.source_schema, entry.source_table)::regclass)
                ) AS parts;
            END IF;
        END IF;
        IF unlogged > 0 THEN  -- rows that a backfill is still to find, or none at all
            SELECT least(oldest, entry.backfill_since, min(b.at)) INTO oldest
            FROM embedsql.bulk_insert AS b WHERE (b.name, b.generation) = (entry.name, entry.generation);
        END IF;
        oldest_pending_seconds := CASE WHEN oldest IS NOT NULL
            THEN greatest(0, extract(epoch FROM clock_timestamp() - oldest)) END;  -- a clock may have been set back
        SELECT coalesce(sum((w.rates ->> concat(entry.name, CASE WHEN state <> 'serving' THEN ' generation ' || generation END))::double precision), 0) INTO rate
        FROM embedsql.worker AS w WHERE w.seen_at > clock_timestamp() - interval '1 minute';
        SELECT count(*) FILTER (WHERE f.dead), count(*) FILTER (WHERE f.next_attempt_at IS NOT NULL)
        INTO dead, waiting FROM embedsql.failure AS f WHERE f.index_id = entry.index_id;
        pending := pending + waiting + unlogged;
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
