WITH sampled AS MATERIALIZED (
    SELECT {chunk_key}, {viewed_vector}, c.lexemes, c.terms, row_number() OVER () AS place
    FROM (SELECT * FROM {chunk} TABLESAMPLE SYSTEM (%(percent)s::float8) ORDER BY random() LIMIT %(most)s) AS c
    {source_join}
), total AS (
    SELECT count(*)::float8 AS chunks FROM sampled
), frequency AS MATERIALIZED (
    SELECT t.lexeme, count(*) AS df FROM sampled, unnest(lexemes) AS t GROUP BY t.lexeme
), weighed AS (
    SELECT a.place, embedsql.term_place(f.lexeme) AS term, sum(ln(1 + (chunks - df + 0.5) / (df + 0.5))) AS idf
    FROM sampled AS a, unnest(a.lexemes) AS t JOIN frequency AS f USING (lexeme), total
    WHERE a.place <= %(asked)s GROUP BY 1, 2
), question AS MATERIALIZED (
    SELECT place, embedsql.sparse(string_agg(term || ':' || idf::real, ',')) AS weights FROM weighed GROUP BY place
), compared AS (
    SELECT a.place, {similarity} AS similarity, -(b.terms <#> q.weights) AS score
    FROM question AS q JOIN sampled AS a USING (place) JOIN sampled AS b ON NOT ({same_key})
), ranked AS (
    SELECT place, score, row_number() OVER (PARTITION BY place ORDER BY similarity DESC) AS by_meaning,
           row_number() OVER (PARTITION BY place ORDER BY score DESC) AS by_words
    FROM compared WHERE similarity IS NOT NULL
), asked AS (
    SELECT avg(score) FILTER (WHERE by_meaning <= 10) / nullif(avg(score) FILTER (WHERE by_words <= 10), 0) AS share
    FROM ranked GROUP BY place
)
SELECT count(share), avg(share)::float8 FROM asked
