"""Where a row stands among all rows that pass the filters: exact, so every vector is read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from embedsql.explain.explanation import Lane
from embedsql.explain.statement import Key, Subject
from embedsql.search.bm25 import has_any_word
from embedsql.search.bound import BoundQuery
from embedsql.search.distance import distance, similarity
from embedsql.search.lexical import question_of
from embedsql.search.nearest_terms import score_of


def dense_rank(subject: Subject, query: BoundQuery, key: Key) -> Lane | None:
    """The row's rank by meaning and its similarity; ``None``: it has no vector."""
    target = subject.target
    near = distance(target, query)
    chunks = (
        target.chunks_of_source(query, near.label("distance"))
        .where(near.is_not(None))
        .subquery("chunk_distance")
    )
    nearest = func.min(chunks.c.distance)
    order = [nearest, *target.key_of(chunks)]
    found = _one(subject, chunks, similarity(target.vectors, nearest), order, key)
    return None if found is None else Lane(found[0], float(found[1]), None)


def lexical_rank(subject: Subject, query: BoundQuery, key: Key) -> Lane | None:
    """The row's rank by words and its BM25 score; ``None``: it has none of the words."""
    target = subject.target
    question = question_of(target, query)
    score = score_of(target.chunk, question)
    has_a_word = score > 0 if target.learned else has_any_word(target.chunk, question)
    matching = target.chunks_of_source(query, score.label("score")).where(has_a_word)
    chunks = matching.subquery("matching_chunk")
    best = func.max(chunks.c.score)
    order = [best.desc(), *target.key_of(chunks)]
    found = _one(subject, chunks, best, order, key)
    return None if found is None else Lane(found[0], float(found[1]), None)


def _one(subject: Subject, chunks: Any, value: Any, order: list[Any], key: Key) -> Any:
    target = subject.target
    rows = (
        select(
            *target.key_of(chunks),
            value.label("value"),
            func.row_number().over(order_by=order).label("rank"),
        )
        .group_by(*target.key_of(chunks))
        .subquery("row_rank")
    )
    own = key.matches(target.key_of(rows))
    return subject.session.execute(select(rows.c.rank, rows.c.value).where(own)).one_or_none()
