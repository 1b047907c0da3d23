"""The lexical lane: by BM25, or by the terms of a sparse encoder."""

from __future__ import annotations

from pgvector.sqlalchemy import SPARSEVEC
from sqlalchemy import CTE, Double, cast, exists, false, func, select
from sqlalchemy.sql.selectable import FromClause

from embedsql.search.bm25 import bm25_lane, bm25_question
from embedsql.search.bound import BoundQuery, Expression
from embedsql.search.sparse import sparse_lane
from embedsql.search.target import Target


def question_of(target: Target, query: BoundQuery) -> CTE:
    """The query as the lexical lane asks it: one line, with its ``weights`` and ``demand``.

    See ``embedsql.bm25_question`` for the other columns of BM25's.

    Raises:
        QueryError: The index has no lexical lane.
    """
    asked = _learned(target, query) if target.learned else bm25_question(target, query)
    # Names the source before any chunk is read, so that a search locks tables in the order in
    # which a TRUNCATE of the source does.
    source_first = ~exists(select(1).select_from(target.source.entity).where(false()))
    return (
        select(*asked.c)
        .where(source_first)
        .cte(query.named("question"))
        .prefix_with("MATERIALIZED")
    )


def lexical_lane(target: Target, query: BoundQuery, question: CTE) -> CTE:
    """Columns: the key, ``chunk_seq``, ``score``, ``fresh``, ``rank`` from 1."""
    lane = sparse_lane if target.learned else bm25_lane
    return lane(target, query, question)


def _learned(target: Target, query: BoundQuery) -> FromClause:
    """A sparse encoder's terms; what is due is the score of a chunk that says just the same."""
    weights = cast(query.terms, SPARSEVEC)
    itself: Expression = -weights.op("<#>", return_type=Double())(weights)
    space = func.embedsql.require_space(target.index, query.space, target.generation)
    return select(weights.label("weights"), itself.label("demand"), space.label("space")).subquery(
        "asked"
    )
