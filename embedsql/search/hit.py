"""A hit: what a search tells of one row besides the row itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.orm import Bundle
from sqlalchemy.sql import ColumnElement
from typing_extensions import TypeVar

Entity = TypeVar("Entity", default=Any)  # what a row comes as: a mapped class; of a Table: anything


@dataclass(frozen=True)
class Hit:
    """How one row was found.

    Where a lane did not find it, its rank is ``None``; its score may be there all the same, since
    the fusion needs it.

    Attributes:
        score: Larger is better; comparable within one result only.
        dense_rank: Rank in the dense lane, from 1.
        similarity: Of its nearest chunk, by the index's metric: the cosine, -1 to 1, the inner
            product, or 1 / (1 + the Euclidean distance).
        lexical_rank: Rank in the lexical lane, from 1.
        bm25: The BM25 score of its best chunk, or what a sparse encoder's terms give instead.
        support: The evidence for this row alone, whatever the others are; from 1 up, more than
            chance. If no hit reaches 1, there is no good answer. See ``search.scores.support``.
        chunk_seq: The chunk it was found by.
        snippet: The beginning of that chunk.
        strategy: How the dense lane was served: ``ann`` (approximate index) or ``exact``;
            ``None`` without a dense lane.
        pending: Whether the row waits to be embedded and was found by the words that it has now:
            ``snippet`` and ``passage`` are of its current text, and ``chunk_seq`` means nothing.
        highlight: The passage as HTML with the query's words marked, if it was asked for.
        passage: The whole chunk, with its neighbours, if it was asked for.
        rerank_score: The reranker's own score, if it read the row.
    """

    score: float
    dense_rank: int | None
    similarity: float | None
    lexical_rank: int | None
    bm25: float | None
    support: float | None
    chunk_seq: int
    snippet: str
    strategy: str | None
    pending: bool = False
    highlight: str | None = None
    passage: str | None = None
    rerank_score: float | None = None


class HitBundle(Bundle[Hit]):
    """Columns that come out of a session as one ``Hit``."""

    inherit_cache = True

    def __init__(self, *columns: ColumnElement[Any]) -> None:
        super().__init__("hit", *columns)

    def create_row_processor(
        self,
        query: Any,
        procs: Sequence[Callable[[Row[Any]], Any]],
        labels: Sequence[str],
    ) -> Callable[[Row[Any]], Hit]:
        """Make a ``Hit`` of a result row; called by SQLAlchemy."""
        return lambda row: Hit(
            **{label: process(row) for label, process in zip(labels, procs, strict=True)}
        )
