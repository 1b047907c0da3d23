-- The words of a question in each of some rows, by its best passage: what each adds to the BM25 score.
WITH asked AS (
    SELECT place, {key_from_json} FROM jsonb_array_elements(%(keys)s::jsonb) WITH ORDINALITY AS k (key, place)
), question AS MATERIALIZED (
    SELECT q.weights, r.configs, r.ranked
    FROM embedsql.bm25_question({index}, {configuration}, %(words)s, 1, {pinned}) AS q,
         embedsql.read_question({index}, {configuration}, %(words)s, {pinned}) AS r
), word AS MATERIALIZED (
    -- those that no stored passage has included: a row that waits to be embedded may have them
    SELECT u.term, u.unit, -(q.weights <#> u.unit) AS idf
    FROM question AS q CROSS JOIN LATERAL (
        SELECT DISTINCT l.lexeme AS term, embedsql.sparse(embedsql.term_place(l.lexeme) || ':1') AS unit
        FROM unnest(q.configs) AS c, unnest(embedsql.lexemes(c, q.ranked)) AS l
    ) AS u
)
SELECT k.place, t.term, t.idf, w.weight
FROM asked AS k (place, {key_columns})
CROSS JOIN question AS q
CROSS JOIN LATERAL (SELECT c.terms FROM {passages} AS c WHERE {chunk_of_key}
                    ORDER BY c.terms <#> q.weights, c.chunk LIMIT 1) AS best
CROSS JOIN word AS t
CROSS JOIN LATERAL (SELECT -(best.terms <#> t.unit) AS weight) AS w
WHERE t.idf > 0 AND w.weight > 0
ORDER BY k.place, t.idf * w.weight DESC, t.term
