"""What models made of the queries asked of late, so that a query asked again costs no model."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from embedsql.embedders.base import Embedder
from embedsql.embedders.sparse import terms_of

MOST = 1024  # 1.5 MB at 384 dimensions


class QueryVectors:
    """Embeds queries; remembers the latest, by exact text. Safe for threads.

    ``of`` gives a query's vector, ``terms_of`` what a sparse encoder makes of it.

    Args:
        embedder: Its space is that of every vector here.
        most: How many of each are kept; those not asked for longest go first.
    """

    def __init__(self, embedder: Embedder, most: int = MOST) -> None:
        self._embedder = embedder
        self._sparse = terms_of(embedder)
        self.of = functools.lru_cache(maxsize=most)(self._embed)
        self.terms_of = functools.lru_cache(maxsize=most)(self._terms)
        self.space = embedder.space.label

    def _embed(self, text: str) -> npt.NDArray[np.float32]:
        """The query's vector, shape (dimensions,), not to be written to."""
        vector: npt.NDArray[np.float32] = self._embedder.embed_queries([text])[0].copy()
        vector.setflags(write=False)
        return vector

    def _terms(self, text: str) -> str | None:
        """As pgvector reads a ``sparsevec``; ``None``: words are weighed by BM25."""
        return None if self._sparse is None else self._sparse.of_queries([text])[0]
