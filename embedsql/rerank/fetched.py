"""A search whose rows are to be reranked: what it asks for, and what becomes of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedsql.errors import QueryError
from embedsql.rerank.order import Reranked, rerank
from embedsql.rerank.reranker import Reranker


def rerank_search(
    limit: int, reranker: Reranker | None, top: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Options of the search: as many rows as are read, with their passages.

    Raises:
        QueryError: They cannot be reranked page by page.
    """
    if reranker is None:
        return {**options, "limit": limit}
    if not callable(reranker):
        raise QueryError(f"rerank takes a reranker, cross_encoder({reranker!r}) say, and no name")
    if options.get("offset") or options.get("after") is not None:
        raise QueryError(
            "reranking starts at the first row: fetch the rows of all pages at once, without "
            "offset or after"
        )
    passages = {} if options.get("neighbours") is not None else {"neighbours": 0}
    return {**options, **passages, "limit": max(limit, top)}


def reranked_rows(
    text: str,
    rows: Sequence[Sequence[Any]],
    limit: int,
    reranker: Reranker | None,
    *,
    top: int,
    budget: float | None,
    blend: float | None,
) -> Reranked[Any]:
    """The first ``limit`` of a search's rows, after its reranking."""
    if reranker is None:
        return Reranked([tuple(row) for row in rows], False, 0, "no reranker was asked for")
    found = rerank(text, rows, reranker, top=top, budget=budget, blend=blend)
    return found.first(limit)
