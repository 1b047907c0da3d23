-- The words of a question in each of some rows, by its best chunk: what each adds to the BM25 score.
WITH asked AS (
    SELECT place, {key_from_json} FROM jsonb_array_elements(%(keys)s::jsonb) WITH ORDINALITY AS k (key, place)
)
SELECT k.place, t.term, t.bound / 2.2 AS idf, w.weight
FROM asked AS k (place, {key_columns})
CROSS JOIN embedsql.bm25_question({index}, {configuration}, %(words)s, 1) AS q
CROSS JOIN LATERAL (SELECT c.terms FROM {chunk_view} AS c WHERE {chunk_of_key}
                    ORDER BY c.terms <#> q.weights, c.chunk_seq LIMIT 1) AS best
CROSS JOIN LATERAL unnest(q.terms, q.bounds) AS t (term, bound)
CROSS JOIN LATERAL (SELECT -(best.terms <#> embedsql.sparse(embedsql.term_place(t.term) || ':1')) AS weight) AS w
WHERE w.weight > 0
ORDER BY k.place, t.bound * w.weight DESC, t.term
