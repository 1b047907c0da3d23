-- Which of the words that a question requires or excludes a row has.
SELECT a.word, q.required IS NOT NULL AS required,
       EXISTS (SELECT FROM {chunk_view} AS c, (SELECT {asked_key}) AS k
               WHERE {chunk_of_key} AND c.lexemes @@ coalesce(q.required, q.excluded)) AS there
FROM jsonb_array_elements_text(%(words)s::jsonb) WITH ORDINALITY AS a (word, place),
     embedsql.read_question({index}, {configuration}, a.word) AS q
WHERE coalesce(q.required, q.excluded) IS NOT NULL
ORDER BY a.place
