"""What a search gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedsql.search import Hit, Mode


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        hits: Keys (a scalar, or for a key of several columns an object) with their hits.
        mode: The lanes that were asked for.
        strategy: ``ann``, ``exact`` or ``lexical``.
        complete: Whether no matching row was left out (there are ``limit`` rows, or all there are),
            and every lane that was asked for took part.
        words_only: Why only words were searched where more was asked for. ``None``: they were not.
        reranked: Whether a reranker ordered them.
        why_not: Why the one that was asked for did not, or not all of them.
    """

    hits: Sequence[tuple[Any, Hit]]
    mode: Mode
    strategy: str
    complete: bool
    words_only: str | None = None
    reranked: bool = False
    why_not: str | None = None


def strategy_of(hits: Sequence[tuple[Any, Hit]], searched: Mode) -> str:
    """How the lanes that were searched were served."""
    if searched == "lexical":
        return "lexical"
    return (hits[0][1].strategy if hits else None) or "exact"
