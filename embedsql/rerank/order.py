"""Order again what a search found, by a reranker, within a time budget."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, overload

import numpy as np

from embedsql.errors import QueryError, RerankError
from embedsql.rerank.reranker import BoundReranker, Reranker
from embedsql.search import Hit
from embedsql.search.hit import Entity
from embedsql.search.words import clean_text, meant_text

FIRST_SLICE = 8
LARGEST_SLICE = 64
LATE = 0.05  # seconds; a call that fails so shortly before its deadline has run out of time

logger = logging.getLogger("embedsql.rerank")


class _TimeUsedError(Exception):
    """The budget is used."""


Line = tuple[Any, ...]  # (entity, hit), or of a Table (*columns, hit)


@dataclass(frozen=True)
class Reranked(Sequence[tuple[Entity, Hit]], Generic[Entity]):
    """Rows as a search gives them, ``(entity, hit)``, best first; a sequence of these.

    Attributes:
        rows: The rows.
        reranked: Whether the reranker ordered them; else they stand as the search had them.
        scored: How many of them it saw: these are the first.
        why_not: Why it saw none, or not all that it was to see. ``None``: it saw them all.
    """

    rows: Sequence[tuple[Entity, Hit]]
    reranked: bool
    scored: int
    why_not: str | None = None

    def __iter__(self) -> Iterator[tuple[Entity, Hit]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> tuple[Entity, Hit]: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[tuple[Entity, Hit]]: ...

    def __getitem__(self, place: int | slice) -> tuple[Entity, Hit] | Sequence[tuple[Entity, Hit]]:
        return self.rows[place]

    def first(self, count: int) -> Reranked[Entity]:
        """The same without the rows behind ``count``."""
        return replace(self, rows=self.rows[:count], scored=min(self.scored, count))


def rerank(
    query: str,
    rows: Sequence[Sequence[Any]],
    reranker: Reranker,
    *,
    top: int | None = None,
    budget: float | None = None,
    blend: float | None = None,
) -> Reranked[Any]:
    """Order the rows of a search again.

    They are read in slices, the best first, until the budget is used. What was not read keeps its
    order, below what was; its scores are lowered by one amount, so that they fit in there. A
    reranker that fails is logged, and the rows come back as they were: this raises nothing for it.

    Args:
        query: What was asked.
        rows: Lines whose last part is a ``Hit``. Its ``passage`` is read (search with
            ``neighbours=0``), else its snippet, which is but the beginning of a passage.
        reranker: See ``Reranker``.
        top: How many rows are to be read. Defaults to all.
        budget: Seconds. A call that takes longer is left alone, and its thread with it.
        blend: ``None``: the reranker's score replaces that of the search. 0 to 1: both are
            stretched to 0 to 1 over the rows read, and the reranker's counts so much.

    Raises:
        QueryError: ``top``, ``budget`` or ``blend`` is out of range.
    """
    if top is not None and top < 1:
        raise QueryError(f"top must be 1 row or more, not {top}")
    if budget is not None and not budget > 0:
        raise QueryError(f"the budget must be above 0 seconds, not {budget}")
    if blend is not None and not 0 <= blend <= 1:
        raise QueryError(f"blend must be 0 to 1, not {blend}")
    lines = [tuple(row) for row in rows]
    wanted = lines[:top]
    try:
        scores = _read(meant_text(clean_text(query)), wanted, reranker, budget)
    except Exception as error:  # whatever a reranker does, there is a ranking already
        why = f"the reranker failed: {str(error) or type(error).__name__}"
        logger.warning("rows stay in the order of the search: %s", why)
        return Reranked(lines, False, 0, why)
    why_not = None
    if len(scores) < len(wanted):
        why_not = f"the budget of {budget:g} s was used after {len(scores)} of {len(wanted)} rows"
        logger.warning("reranking ended early: %s", why_not)
    return Reranked(_ordered(lines, scores, blend), bool(scores), len(scores), why_not)


def _read(
    query: str, lines: Sequence[Line], reranker: Reranker, budget: float | None
) -> list[float]:
    """Scores of the first lines: as many as the budget allows."""
    started, scores = time.monotonic(), list[float]()
    size = FIRST_SLICE if budget is not None else LARGEST_SLICE
    while len(scores) < len(lines):
        passages = [_passage(line[-1]) for line in lines[len(scores) : len(scores) + size]]
        try:
            given = (
                reranker(query, passages)
                if budget is None
                else _within(started + budget, query, passages, reranker)
            )
        except _TimeUsedError:
            break
        scores += _checked(given, len(passages))
        if budget is not None:
            size = _next_slice(len(scores), time.monotonic() - started, budget)
            if not size:
                break
    return scores


def _next_slice(read: int, seconds: float, budget: float) -> int:
    """How many more are read at once: twice as many at most, and no more than there is time for."""
    fit = int((budget - seconds) * read / max(seconds, 1e-6))
    return min(fit, 2 * read, LARGEST_SLICE)


def _within(
    deadline: float, query: str, passages: Sequence[str], reranker: Reranker
) -> Sequence[float]:
    """One call; when its time is over its thread goes on, since none can be ended from outside."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise _TimeUsedError
    call = reranker.within(left) if isinstance(reranker, BoundReranker) else reranker
    answers: queue.SimpleQueue[Sequence[float] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(call(query, passages))
        except Exception as error:
            answers.put(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="embedsql rerank", daemon=True).start()
    try:
        answer = answers.get(timeout=left)
    except queue.Empty:
        raise _TimeUsedError from None
    if not isinstance(answer, Exception):
        return answer
    # a reranker that keeps the deadline itself fails just before it: out of time, not broken
    raise _TimeUsedError if time.monotonic() >= deadline - LATE else answer


def _checked(scores: Sequence[float], count: int) -> list[float]:
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RerankError("the reranker gave something other than scores") from error
    if values.shape != (count,):
        raise RerankError(f"the reranker gave scores of shape {values.shape} for {count} passages")
    if not np.isfinite(values).all():
        raise RerankError("the reranker gave scores that are NaN or infinite")
    return [float(value) for value in values]


def _ordered(lines: Sequence[Line], scores: Sequence[float], blend: float | None) -> list[Line]:
    if not scores:
        return list(lines)
    read, rest = lines[: len(scores)], lines[len(scores) :]
    own = [float(line[-1].score) for line in read]
    final = list(scores)
    if blend is not None:
        mixed = (1 - blend) * _stretched(own) + blend * _stretched(scores)
        final = [float(score) for score in mixed]
    order = sorted(range(len(read)), key=lambda place: -final[place])  # ties as they stood
    best = [_with(read[place], final[place], scores[place]) for place in order]
    down = min(final) - rest[0][-1].score if rest else 0.0
    return best + [_with(line, line[-1].score + down, None) for line in rest]


def _stretched(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """To 0 to 1; all alike: all 0."""
    given = np.asarray(values, dtype=np.float64)
    width = float(np.ptp(given))
    return (given - given.min()) / width if width else np.zeros_like(given)


def _with(line: Line, score: float, rerank_score: float | None) -> Line:
    return (*line[:-1], replace(line[-1], score=score, rerank_score=rerank_score))


def _passage(hit: Hit) -> str:
    return hit.snippet if hit.passage is None else hit.passage
