"""Local models through sentence-transformers. torch is imported when a model is constructed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from embedsql.choices import Backend
from embedsql.embedders.backends import compiler_of, run_compiled
from embedsql.embedders.base import Space, Vectors, normalized
from embedsql.embedders.fingerprint import fingerprint, precision
from embedsql.embedders.loading import load_local, set_threads, tokenizer_of, weights_of
from embedsql.errors import ConfigurationError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FEWEST_TOKENS = 8
# texts run at once: on a CPU 8 to 32 are fastest; from 128 on padding eats the gain
ENCODE_BATCH: dict[Backend, int] = {"torch": 16, "openvino": 8, "onnx": 8}


class SentenceTransformersEmbedder:
    """A model that ``SentenceTransformer()`` loads: a hub name or a folder.

    Args:
        model: ``sentence-transformers/<name or folder>``.
        dimensions: Fewer than the model's own cut its vectors (Matryoshka) and normalize again.
        query_prompt: Overrides the model's own.
        document_prompt: Overrides the model's own.
        threads: Threads of the back end; ``None``: its own choice.
        backend: ``torch``, or ``openvino`` or ``onnx`` on int8 weights.

    Raises:
        MissingExtraError: sentence-transformers or the back end is not installed.
        UnknownModelError: The model cannot be loaded.
        ConfigurationError: More dimensions are asked for than it has, or int8 does not suit it.
    """

    provider = "local"
    call_characters = 32_000  # a second or two of a small model on a CPU

    def __init__(
        self,
        model: str,
        *,
        dimensions: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        threads: int | None = None,
        backend: Backend = "torch",
    ) -> None:
        own = _load(model, backend)
        self._model = (
            own if backend == "torch" else run_compiled(own, weights_of(model), backend, threads)
        )
        set_threads(threads)
        self._encode_options: dict[str, Any] = {
            "batch_size": ENCODE_BATCH[backend],
            "show_progress_bar": False,
        }
        full = self._model.get_embedding_dimension()
        if full is None or (dimensions is not None and dimensions > full):
            raise ConfigurationError(
                f"the model {model} gives vectors of {full} dimensions, not {dimensions}"
            )
        self.space = Space(
            model,
            dimensions or full,
            _prompt(self._model, "query", query_prompt),
            _prompt(self._model, "document", document_prompt),
            backend=backend,
            precision=precision(own) if backend == "torch" else "int8",
            revision=fingerprint(own),
        )
        self.tokenizer = tokenizer_of(self._model)
        self.max_tokens = self._max_tokens()

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), float32, unit length."""
        return self._finished(
            self._model.encode_document(
                list(texts), prompt=self.space.document_prompt, **self._encode_options
            )
        )

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), float32, unit length."""
        return self._finished(
            self._model.encode_query(
                list(texts), prompt=self.space.query_prompt, **self._encode_options
            )
        )

    def _finished(self, vectors: Any) -> Vectors:
        if not len(vectors):
            return np.zeros((0, self.space.dimensions), dtype=np.float32)
        whole = np.asarray(vectors, dtype=np.float32).reshape(-1, vectors.shape[-1])
        return normalized(whole[:, : self.space.dimensions])

    def _max_tokens(self) -> int | None:
        longest = self._model.max_seq_length
        if longest is None or not math.isfinite(longest):
            return None
        if self.tokenizer is None:
            return int(longest)
        prompt = self.tokenizer.encode(self.space.document_prompt, add_special_tokens=False)
        left = int(longest) - self.tokenizer.num_special_tokens_to_add(False) - len(prompt.ids)
        if left < FEWEST_TOKENS:
            raise ConfigurationError(
                f"the document prompt leaves {left} of the {longest} tokens that the model reads"
            )
        return left


def _load(model: str, backend: Backend) -> SentenceTransformer:
    if backend != "torch":
        compiler_of(backend)  # missing? then say so before anything is loaded
    return load_local(model, "SentenceTransformer", device=None if backend == "torch" else "cpu")


def _prompt(model: SentenceTransformer, kind: str, override: str | None) -> str:
    return override if override is not None else (model.prompts.get(kind) or "")
