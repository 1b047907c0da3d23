-- Whether each key column compares by operators that every search_path finds: those of pg_catalog,
-- which domains over its types, enums and ranges use too.
WITH RECURSIVE base (place, type) AS (
    SELECT place, to_regtype(name)::oid FROM unnest(%(types)s::text[]) WITH ORDINALITY AS k (name, place)
    UNION ALL
    SELECT b.place, t.typbasetype FROM base AS b JOIN pg_type AS t ON t.oid = b.type AND t.typtype = 'd'
)
SELECT array_agg(
    coalesce(t.typnamespace = 'pg_catalog'::regnamespace OR t.typtype IN ('e', 'r'), false) ORDER BY b.place)
FROM base AS b LEFT JOIN pg_type AS t ON t.oid = b.type WHERE t.typtype IS DISTINCT FROM 'd'
