
#variable_conflict use_column
DECLARE
    embedsql_vector text := $4::text;
    embedsql_terms text := $6::text;
    embedsql_space text;
    embedsql_lanes text;
BEGIN
    SELECT p.vector, p.terms, p.space, p.lanes INTO embedsql_vector, embedsql_terms, embedsql_space, embedsql_lanes
    FROM embedsql.prepare_search({index}, $1, $2, $3, $5, embedsql_vector, embedsql_terms) AS p;
{branches}
END
