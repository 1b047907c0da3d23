"""Recall@10 and latency of the lexical lane with its approximate index, against the exact lane."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import psycopg
from psycopg import sql

from embedsql import sqlfile
from embedsql.errors import QueryError
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex
from embedsql.search import SearchTuning
from embedsql.search.query import checked_text
from embedsql.slots import Slots
from embedsql.tune.probes import K, sampling
from embedsql.vector_index import count_vectors

EXACT = 0
USUAL = None
LISTS = (EXACT, USUAL, 40, 100, 200, 400, 1000)
_CLEARLY = 0.8  # of the time that the usual setting takes: less is no mere noise
_ROUNDING = 1e-5  # of float32 scores, so that rows as good as the tenth count as it


@dataclass
class LexicalRecall:
    """One ``lexical_ef_search``: mean recall@10, and median latency in milliseconds."""

    ef_search: int | None
    recalls: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    @property
    def recall(self) -> float:
        """Mean of its questions."""
        return float(np.mean(self.recalls)) if self.recalls else 1.0

    @property
    def p50(self) -> float:
        """Milliseconds, the building of the statement included."""
        return float(np.median(self.milliseconds)) if self.milliseconds else 0.0


def stored_questions(
    connection: psycopg.Connection, index: RegisteredIndex, most: int
) -> list[str]:
    """The first words of about ``most`` chunks; the same ones each time."""
    method, percent = sampling(count_vectors(connection, index), most)
    statement = sqlfile.statement(
        __package__,
        "questions.sql",
        chunk=Slots(index.spec, index.names).chunk,
        method=sql.SQL(method),
    )
    found = connection.execute(statement, {"percent": percent, "most": most}).fetchall()
    return [text for (text,) in found if _is_question(text)]


def measure_lexical(
    search: RegisteredSearch, texts: Sequence[str], present: SearchTuning
) -> list[LexicalRecall]:
    """Ask every question at every setting, in turn.

    Args:
        search: The index; it has an approximate index on the weights.
        texts: The questions.
        present: The other settings.
    """
    measured = [LexicalRecall(one) for one in LISTS]
    tunings = [replace(present, lexical_ef_search=one.ef_search) for one in measured]
    for tuning in tunings if texts else ():  # compiled and in memory before anything is timed
        search.search(texts[0], mode="lexical", tuning=tuning)
    for text in texts:
        exact: list[float] = []
        for one, tuning in zip(measured, tunings, strict=True):
            started = time.perf_counter()
            found = search.search(text, mode="lexical", limit=K, tuning=tuning)
            one.milliseconds.append((time.perf_counter() - started) * 1000)
            scores = [hit.score for _, hit in found.hits]
            exact = scores if one.ef_search == EXACT else exact
            one.recalls.append(_recall(scores, exact))
    return measured


def cheapest(measured: Sequence[LexicalRecall], target: float) -> int | None:
    """The usual setting if it reaches the target, unless another that does is clearly faster.

    Returns:
        A ``lexical_ef_search``; ``None``: the usual one, or nothing was measured.
    """
    good = [one for one in measured if one.recalls and one.recall >= target]
    if not good:
        return USUAL
    fastest = min(good, key=lambda one: one.p50)
    usual = next((one for one in good if one.ef_search is USUAL), None)
    if usual is not None and fastest.p50 > _CLEARLY * usual.p50:
        return USUAL
    return fastest.ef_search


def _recall(found: Sequence[float], exact: Sequence[float]) -> float:
    """Share of the best scores that were reached; rows of one score are as good as one another."""
    if not exact:
        return 1.0
    last = exact[-1] - _ROUNDING * (1 + abs(exact[-1]))
    return min(sum(1 for score in found if score >= last), len(exact)) / len(exact)


def _is_question(text: str) -> bool:
    try:
        return bool(checked_text(text))
    except QueryError:
        return False
