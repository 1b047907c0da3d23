"""What a reranker is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class Reranker(Protocol):
    """Any callable that says how well each passage answers a query."""

    def __call__(self, query: str, passages: Sequence[str], /) -> Sequence[float]:
        """A score for each passage, in their order; larger is better.

        Args:
            query: What was asked, without the signs of required and excluded words.
            passages: One or more.
        """
        ...


@runtime_checkable
class BoundReranker(Reranker, Protocol):
    """A reranker that can give up in time by itself."""

    def within(self, seconds: float) -> Reranker:
        """The same, that takes no longer than ``seconds`` for a call."""
        ...
