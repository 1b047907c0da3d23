"""What every embedder offers, and the guard that its vectors pass before they are stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from embedsql.errors import BadVectorsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """What two vectors must share to be compared.

    Attributes:
        model: The embedder's name.
        dimensions: Length of a vector.
        query_prompt: Put before each query.
        document_prompt: Put before each document.
        normalized: Whether vectors have unit length.
        backend: What runs a local model: ``torch``, ``openvino`` or ``onnx``.
        precision: Of a local model's weights: ``fp32`` or ``int8``, say.
        revision: Fingerprint of a local model's weights, as they were before any int8.
        sparse: The sparse encoder beside it and its weights; ``None``: words are weighed by BM25.
    """

    model: str
    dimensions: int
    query_prompt: str = ""
    document_prompt: str = ""
    normalized: bool = True
    backend: str | None = None
    precision: str | None = None
    revision: str | None = None
    sparse: str | None = None

    @property
    def label(self) -> str:
        """The space in one line; equal labels, equal spaces."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(said, ensure_ascii=False, sort_keys=True)


class Embedder(Protocol):
    """Texts to vectors of one space."""

    @property
    def space(self) -> Space:
        """The space of its vectors."""

    @property
    def provider(self) -> str:
        """Whose trouble a ``ProviderError`` is: a server's URL, or ``local``."""

    @property
    def max_tokens(self) -> int | None:
        """Tokens it reads of one text, special ones and the prompt not counted; ``None``: all."""

    @property
    def call_characters(self) -> int:
        """Characters of text that one call should bring.

        Enough to keep it busy, few enough that a worker asked to stop need not wait long.
        """

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Its own tokenizer, without truncation; ``None`` where it is not known here."""

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts that will be searched.

        Returns:
            Shape (n, dimensions), float32.

        Raises:
            TextRejectedError: A text is at fault.
            ProviderError: The provider is at fault; try again later.
        """

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed questions. As ``embed_documents``, with the query prompt."""


@runtime_checkable
class Remembering(Protocol):
    """An embedder that keeps what it made, lest it be paid for twice."""

    def forget(self, texts: Sequence[str]) -> None:
        """These documents are to be embedded again."""


def forget(embedder: Embedder, texts: Sequence[str]) -> None:
    """See to it that the model runs on these documents when they come next."""
    if texts and isinstance(embedder, Remembering):
        embedder.forget(texts)


def check_vectors(vectors: Vectors, count: int, dimensions: int) -> Vectors:
    """Refuse vectors that must not be stored.

    Args:
        vectors: What an embedder gave for ``count`` texts.
        count: Number of texts.
        dimensions: Of the index's space.

    Raises:
        BadVectorsError: Wrong shape, NaN, infinite, or zero (cosine is undefined for it).
    """
    if vectors.shape != (count, dimensions):
        raise BadVectorsError(
            f"the embedder gave vectors of shape {vectors.shape} for {count} texts; "
            f"expected {(count, dimensions)}"
        )
    if not np.isfinite(vectors).all():
        raise BadVectorsError("the embedder gave a vector with NaN or infinite values")
    if not np.any(vectors, axis=1).all():
        raise BadVectorsError("the embedder gave a zero vector, which has no cosine")
    return vectors


def normalized(vectors: Vectors) -> Vectors:
    """Vectors of unit length; zero vectors stay zero, infinite ones become NaN.

    Shape (n, dimensions).
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, np.newaxis]
    with np.errstate(invalid="ignore"):  # infinite by infinite
        unit = vectors / np.where(lengths == 0, 1, lengths)
    return unit.astype(np.float32, copy=False)
