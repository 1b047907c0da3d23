"""The lexical lane: the rows whose words match; any word of the query may."""

from __future__ import annotations

from sqlalchemy import CTE, Text, cast, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.sql import ColumnElement

from embedsql.errors import QueryError
from embedsql.search.collapse import best_chunk
from embedsql.search.query import Query
from embedsql.search.target import Target

# divides the rank by 1 + the logarithm of the chunk's length
LENGTH_NORMALIZATION: ColumnElement[int] = literal_column("1")


def lexical_lane(target: Target, query: Query) -> CTE:
    """Columns: the key, ``chunk_seq``, ``score``, ``rank`` from 1.

    Raises:
        QueryError: The index has no lexical lane.
    """
    if target.lexical is None:
        raise QueryError(f"the index {target.index!r} was made without a lexical lane")
    configuration = '"' + target.lexical.replace('"', '""') + '"'
    words = select(
        func.embedsql.any_term_query(
            cast(literal(configuration, Text), REGCONFIG), literal(query.text, Text)
        )
    ).scalar_subquery()
    chunk = target.chunk
    score = func.ts_rank(chunk.c.lexemes, words, LENGTH_NORMALIZATION).label("score")
    chunks = (
        target.chunks_of_source(query, score)
        .where(chunk.c.lexemes.op("@@")(words))
        .subquery("matching_chunk")
    )
    rows = best_chunk(target, chunks, chunks.c.score.desc(), chunks.c.score).subquery("matching")
    order = [rows.c.score.desc(), *target.key_of(rows)]
    return (
        select(*rows.c, func.row_number().over(order_by=order).label("rank"))
        .order_by(*order)
        .limit(query.candidates)
        .cte("lexical")
    )
