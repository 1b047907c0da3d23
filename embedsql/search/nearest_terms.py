"""The chunks whose lexical weights are nearest to a question's, by an approximate index.

Where a question's words are in a great many chunks, an HNSW index on the weights finds nearly the
same ones without reading all of these.
"""

from __future__ import annotations

from typing import Any

from pgvector.sqlalchemy import SPARSEVEC
from sqlalchemy import CTE, Double, Select, Text, cast, func, select, true
from sqlalchemy.sql.selectable import FromClause

from embedsql.search.bound import BoundQuery, Expression
from embedsql.search.dense import LEAST_EF_SEARCH, MOST_EF_SEARCH
from embedsql.search.pending import settled
from embedsql.search.target import Target

# chunks that a stage hands on for each row asked for, since several may be of one row
OVERSAMPLE = 4


def asks_index(target: Target, query: BoundQuery) -> bool:
    """Whether an approximate index on the weights may be asked."""
    return target.lexical_index == "hnsw" and query.tuning.lexical_ef_search != 0


def lexical_depth(query: BoundQuery) -> Expression:
    """Rows that the lane is asked for: no more than are shown where it is the only one."""
    return query.candidates if query.uses_dense else query.needed


def nearest_terms(
    target: Target,
    query: BoundQuery,
    question: CTE,
    most: Expression,
    pending: CTE | None,
    *where: Expression,
) -> CTE:
    """Columns: the key, ``chunk_seq``, ``score``; no chunk without a term of the question.

    Args:
        target: The index.
        query: Its filters hold.
        question: Has the ``weights``.
        most: Chunks that are asked for.
        pending: Rows that wait to be embedded, which are left out.
        where: Nothing is read unless these hold, which speak of no chunk.
    """
    weights = select(question.c.weights).scalar_subquery()
    settings = _settings(query, most, where)
    near = (
        target.chunks_of_source(query, score_of(target.chunk, question).label("score"))
        .where(settings.c.ef_search.is_not(None), *settled(target, target.chunk, pending))
        .order_by(_indexed(target.chunk).op("<#>", return_type=Double())(weights))
        .limit(most)
        .lateral("near_terms")
    )
    found = select(*near.c).select_from(settings).join(near, true()).subquery("found_terms")
    return select(*found.c).where(found.c.score > 0).cte(query.named("nearest_terms"))


def score_of(chunk: FromClause, question: CTE) -> Expression:
    """The score of a chunk, the inner product of its weights and the question's; 0: no term."""
    weights = select(question.c.weights).scalar_subquery()
    distance: Expression = chunk.c.terms.op("<#>", return_type=Double())(weights)
    return cast(-distance, Double)


def rows_among(target: Target, chunks: CTE) -> Any:
    """How many rows the chunks are of."""
    rows = select(*target.key_of(chunks)).distinct().subquery("row_found")
    return select(func.count()).select_from(rows).scalar_subquery()


def _indexed(chunk: FromClause) -> Expression:
    """As the index has it; see ``ddl.ApproximateIndex``."""
    return cast(func.embedsql.indexed_terms(chunk.c.terms), SPARSEVEC(536870912))


def _settings(query: BoundQuery, most: Expression, where: tuple[Expression, ...]) -> CTE:
    """As the dense lane makes them; no line, so that nothing is asked, unless ``where`` holds."""
    chosen = query.tuning.lexical_ef_search
    wide = func.least(func.greatest(most, LEAST_EF_SEARCH), MOST_EF_SEARCH)
    made: Select[Any] = select(
        func.set_config("hnsw.ef_search", str(chosen) if chosen else cast(wide, Text), True).label(
            "ef_search"
        ),
        func.set_config("hnsw.iterative_scan", "relaxed_order", True).label("iterative_scan"),
    )
    return made.where(*where).cte(query.named("lexical_settings"))
