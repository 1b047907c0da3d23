"""The lexical lane by a sparse encoder's terms: the rows with the largest inner product.

Such an encoder gives a text terms that it does not have, so nearly every chunk shares one with a
question, and no index of words can tell which matter. As in the dense lane, an approximate index is
asked first, if there is one, and every chunk is read where it comes back short.
"""

from __future__ import annotations

from sqlalchemy import CTE, Text, cast, func, null, select, true, union_all

from embedsql.search.bound import BoundQuery, Expression
from embedsql.search.collapse import best_chunk
from embedsql.search.nearest_terms import (
    OVERSAMPLE,
    asks_index,
    lexical_depth,
    nearest_terms,
    score_of,
)
from embedsql.search.target import Target


def sparse_lane(target: Target, query: BoundQuery, question: CTE) -> CTE:
    """Columns as those of ``lexical_lane``. Rows that wait to be embedded have no terms yet."""
    depth = lexical_depth(query)
    if asks_index(target, query):
        near = nearest_terms(target, query, question, depth * OVERSAMPLE, None)
        rows = best_chunk(target, near, near.c.score.desc(), near.c.score)
        rows_near = rows.cte(query.named("near_match"))
        short = select(func.count()).select_from(rows_near).scalar_subquery() < depth
        every = _every_row(target, query, question, only_if=short)
        found = union_all(select(*rows_near.c).where(~short), select(*every.c)).subquery("matching")
    else:
        every = _every_row(target, query, question, only_if=true())
        found = select(*every.c).subquery("matching")
    order = [found.c.score.desc(), *target.key_of(found)]
    return (
        select(
            *found.c,
            cast(null(), Text).label("fresh"),
            func.row_number().over(order_by=order).label("rank"),
        )
        .order_by(*order)
        .limit(depth)
        .cte(query.named("lexical"))
    )


def _every_row(target: Target, query: BoundQuery, question: CTE, *, only_if: Expression) -> CTE:
    """The exact answer; nothing is computed unless ``only_if`` holds."""
    score = score_of(target.chunk, question)
    chunks = (
        target.chunks_of_source(query, score.label("score"))
        .where(only_if, score > 0)
        .subquery("every_chunk")
    )
    rows = best_chunk(target, chunks, chunks.c.score.desc(), chunks.c.score).subquery("every_best")
    order = [rows.c.score.desc(), *target.key_of(rows)]
    limited = select(*rows.c).order_by(*order).limit(lexical_depth(query))
    return limited.cte(query.named("every_match"))
