"""Learned sparse encoders: a text's weights over a vocabulary, which stand in place of BM25's.

SPLADE and its kin know a word's synonyms, too: Formal, Piwowarski and Clinchant, "SPLADE: Sparse
Lexical and Expansion Model for First Stage Ranking" (2021).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedsql.choices import LOCAL
from embedsql.embedders.base import Embedder, Vectors, forget
from embedsql.embedders.fingerprint import fingerprint
from embedsql.embedders.loading import load_local, set_threads, weights_of
from embedsql.errors import BadVectorsError, UnknownModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BATCH = 8  # texts at once: each takes a number for every token and word of the vocabulary
SPECIAL_TOKENS = 2  # which the model puts around a text
MOST_TERMS = 1000  # of a text, the heaviest: as many as an HNSW index takes
PLACES = 1 << 29  # dimensions of the sparsevec; see the SQL function embedsql.sparse
_OPTIONS: dict[str, Any] = {
    "batch_size": BATCH,
    "show_progress_bar": False,
    "max_active_dims": MOST_TERMS,
}


class SparseTerms:
    """A model that ``SparseEncoder()`` loads: a hub name or a folder.

    Args:
        model: ``sentence-transformers/<name or folder>``.
        threads: Threads of torch; ``None``: its own choice.

    Attributes:
        label: Which model, and which weights; equal labels, comparable terms.
        max_tokens: Tokens that it reads of one text; ``None``: not known.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        UnknownModelError: The model cannot be loaded, or is none of this kind.
    """

    def __init__(self, model: str, *, threads: int | None = None) -> None:
        if not model.startswith(LOCAL):
            raise UnknownModelError(f"unknown sparse encoder {model!r}: a name is {LOCAL}<model>")
        self._model = load_local(model, "SparseEncoder")
        if _is_dense(model):
            raise UnknownModelError(
                f"{model} is not a sparse encoder: it makes dense vectors, so name it as model"
            )
        set_threads(threads)
        self.label = f"{model}@{fingerprint(self._model)}"
        longest = self._model.max_seq_length
        self.max_tokens: int | None = longest and longest - SPECIAL_TOKENS

    def of_documents(self, texts: Sequence[str]) -> list[str]:
        """The weights of each text that will be searched, as pgvector reads a ``sparsevec``."""
        return self._texts(self._model.encode_document(list(texts), **_OPTIONS), len(texts))

    def of_queries(self, texts: Sequence[str]) -> list[str]:
        """The same of questions."""
        return self._texts(self._model.encode_query(list(texts), **_OPTIONS), len(texts))

    def _texts(self, encoded: Any, count: int) -> list[str]:
        if not count:
            return []
        found = encoded.coalesce()
        (rows, places), weights = found.indices().cpu().numpy(), found.values().cpu().numpy()
        if not np.isfinite(weights).all():
            raise BadVectorsError("the sparse encoder gave a weight that is NaN or infinite")
        kept = weights > 0
        rows, places, weights = rows[kept], places[kept], weights[kept]
        bounds = np.searchsorted(rows, np.arange(count + 1))
        return [
            sparse_text(places[first:last], weights[first:last]) for first, last in pairwise(bounds)
        ]


class WithTerms:
    """An embedder with a sparse encoder beside it, which its space tells of.

    Args:
        dense: Gives the vectors.
        terms: Gives the terms.
    """

    def __init__(self, dense: Embedder, terms: SparseTerms) -> None:
        self.terms = terms
        self.space = replace(dense.space, sparse=terms.label)
        self.provider = dense.provider
        self.tokenizer: Tokenizer | None = dense.tokenizer
        known = [most for most in (dense.max_tokens, terms.max_tokens) if most is not None]
        self.max_tokens: int | None = min(known, default=None)
        self._dense = dense

    @property
    def call_characters(self) -> int:
        """See ``Embedder``."""
        return self._dense.call_characters

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder``."""
        return self._dense.embed_documents(texts)

    def forget(self, texts: Sequence[str]) -> None:
        """What the dense one keeps of these documents."""
        forget(self._dense, texts)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder``."""
        return self._dense.embed_queries(texts)


def _is_dense(model: str) -> bool:
    """Whether it is a ``SentenceTransformer``, to which random weights would be added."""
    from sentence_transformers.util import load_file_path

    name = weights_of(model)
    config = load_file_path(name, "config_sentence_transformers.json")
    kind = json.loads(Path(config).read_text()).get("model_type") if config else None
    return kind != "SparseEncoder" and load_file_path(name, "modules.json") is not None


def terms_of(embedder: Embedder) -> SparseTerms | None:
    """The sparse encoder beside an embedder; ``None`` where words are weighed by BM25."""
    return embedder.terms if isinstance(embedder, WithTerms) else None


def sparse_text(places: Sequence[int] | Any, weights: Sequence[float] | Any) -> str:
    """Weights as pgvector reads them; ``places`` count from 0, as a vocabulary does."""
    pairs = zip(places, weights, strict=True)
    return f"{{{','.join(f'{place + 1}:{weight:.6g}' for place, weight in pairs)}}}/{PLACES}"
