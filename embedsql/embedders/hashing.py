"""A deterministic embedder without weights, for tests: words hashed into signed counts.

Feature hashing after Weinberger et al., "Feature Hashing for Large Scale Multitask Learning"
(2009). Texts that share words are near; it knows nothing of meaning.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from embedsql.embedders.base import Space, Vectors, normalized
from embedsql.errors import UnknownModelError

_WORD = re.compile(r"\w+")


class HashEmbedder:
    """``hash:<dims>``.

    Args:
        model: The name, ``hash:64`` say.
        query_prompt: Put before each query.
        document_prompt: Put before each document.
    """

    provider = "local"
    max_tokens: int | None = None
    call_characters = 1_000_000
    tokenizer: Tokenizer | None = None

    def __init__(
        self, model: str, query_prompt: str | None = None, document_prompt: str | None = None
    ) -> None:
        digits = model.removeprefix("hash:")
        if not digits.isdecimal() or not 1 <= int(digits) <= 16000:
            raise UnknownModelError(
                f"unknown model {model!r}: a name is hash:<dimensions>, hash:64 say"
            )
        self.space = Space(model, int(digits), query_prompt or "", document_prompt or "")

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), float32, unit length."""
        return self._embed(self.space.document_prompt, texts)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), float32, unit length."""
        return self._embed(self.space.query_prompt, texts)

    def _embed(self, prompt: str, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.space.dimensions), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            # a text without words still needs a direction of its own
            for word in _WORD.findall((prompt + text).lower()) or [text]:
                digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
                number = int.from_bytes(digest, "big")
                row[(number >> 1) % self.space.dimensions] += 1 if number & 1 else -1
            if not row.any():  # opposite signs cancelled out
                row[len(text) % self.space.dimensions] = 1
        return normalized(vectors)
