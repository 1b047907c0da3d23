"""Explain a search: how each hit's score came about, and why a row is not there.

It runs as the caller, in the caller's session: what row-level security hides is hidden here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from embedsql.explain.explanation import (
    Explanation,
    HitExplanation,
    Lane,
    Reason,
    RowExplanation,
    Term,
)
from embedsql.explain.row import explain_row
from embedsql.explain.statement import Key, Subject
from embedsql.explain.window import candidates_of, hits_of
from embedsql.search.query import Query
from embedsql.search.scores import calibration
from embedsql.search.target import Target
from embedsql.spec import IndexSpec

__all__ = [
    "Explanation",
    "HitExplanation",
    "Lane",
    "Reason",
    "RowExplanation",
    "Term",
    "explain_search",
]


def explain_search(
    session: Session,
    spec: IndexSpec,
    target: Target,
    query: Query,
    *,
    key: Any = None,
    condition_words: Sequence[str] | None = None,
) -> Explanation:
    """Run a search's lanes, and say how its hits came about, and where one row stands.

    Args:
        session: Where. Nothing is written.
        spec: The index.
        target: The same, for searching.
        query: The search.
        key: Of the row in question: a scalar; for several columns a tuple or a mapping.
        condition_words: What each of the query's conditions is called. Defaults to its SQL.

    Raises:
        QueryError: The key does not fit the index.
    """
    asked = None if key is None else Key(spec, key)
    subject = Subject(session, spec, target)
    candidates = candidates_of(subject, query, asked)
    mean = deviation = None
    if query.mode == "hybrid" and query.tuning.fusion == "calibrated":
        mean, deviation, _ = session.execute(select(*calibration(target))).one()
    row = None
    if asked is not None:
        row = explain_row(
            subject,
            query,
            asked,
            candidates,
            given=key,
            condition_words=condition_words,
        )
    return Explanation(
        query.mode,
        candidates[0].strategy if candidates else None,
        query.tuning.fusion if query.mode == "hybrid" else None,
        mean,
        deviation,
        hits_of(subject, query, candidates),
        row,
    )
