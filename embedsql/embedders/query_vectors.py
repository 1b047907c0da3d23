"""The vectors of queries asked of late, so that a query asked again costs no model."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from embedsql.embedders.base import Embedder

MOST = 1024  # 1.5 MB at 384 dimensions


class QueryVectors:
    """Embeds queries; remembers the latest, by exact text. Safe for threads.

    Args:
        embedder: Its space is that of every vector here.
        most: How many vectors are kept; those not asked for longest go first.
    """

    def __init__(self, embedder: Embedder, most: int = MOST) -> None:
        self._embedder = embedder
        self.of = functools.lru_cache(maxsize=most)(self._embed)
        self.space = embedder.space.label

    def _embed(self, text: str) -> npt.NDArray[np.float32]:
        """The query's vector, shape (dimensions,), not to be written to."""
        vector: npt.NDArray[np.float32] = self._embedder.embed_queries([text])[0].copy()
        vector.setflags(write=False)
        return vector
