"""Models behind an OpenAI-compatible ``/v1/embeddings`` endpoint."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
from tokenizers import Tokenizer

from embedsql.embedders.base import Space, Vectors, normalized
from embedsql.embedders.openai.background import run
from embedsql.embedders.openai.dispatch import Dispatcher
from embedsql.embedders.openai.endpoint import DEFAULT_BASE_URL, Endpoint, Patience
from embedsql.embedders.openai.request_size import MOST_TEXTS, RequestSize
from embedsql.errors import ProviderError

__all__ = ["OpenAIEmbedder", "Patience"]

T = TypeVar("T")

CONCURRENCY = 4
OPENAI_MODELS = "text-embedding-"
OPENAI_INPUT_TOKENS = 8191
TOKEN_CHARACTERS = 4  # in English; elsewhere the server's refusal shortens the text further
CALL_SECONDS = 60.0
QUERY_SECONDS = 20.0


class OpenAIEmbedder:
    """``openai:<model>``.

    A call sends several requests at a time over kept connections. Failures that may pass (429,
    408, 5xx, a lost connection, an answer that is none) are tried again for a few seconds, as
    ``Retry-After`` says; what outlasts that is a ``ProviderError``. A call ends within
    ``call_seconds``, one with queries within 20 s, whatever the server does; vectors that were
    answered by then are kept, and the next call with these texts goes on from there. So a worker
    that is asked to stop waits a minute at the very most.

    Args:
        model: The name, ``openai:text-embedding-3-small`` say.
        base_url: The server, with or without ``/v1``. ``None``: api.openai.com.
        api_key: ``None``: ``OPENAI_API_KEY``; a server that asks for none needs none.
        dimensions: Sent with each request (the server cuts the vectors). ``None``: the model's
            own, found out with one request.
        query_prompt: Put before each query.
        document_prompt: Put before each document.
        concurrency: Requests at a time.
        call_seconds: How long a call may take.
        patience: How long to wait for one answer, and how often to ask.

    Attributes:
        provider: The server's URL without user, password and query.

    Raises:
        ConfigurationError: The URL, the key or the model is wrong.
        ProviderError: The server does not answer.
    """

    tokenizer: Tokenizer | None = None

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        dimensions: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        concurrency: int = CONCURRENCY,
        call_seconds: float = CALL_SECONDS,
        patience: Patience | None = None,
    ) -> None:
        served_name = model.removeprefix("openai:")
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        payload: dict[str, object] = {"model": served_name}
        if dimensions is not None and served_name.startswith("text-embedding-3"):
            payload["dimensions"] = dimensions
        endpoint = Endpoint(base_url, key, payload, patience or Patience())
        openai = endpoint.provider == DEFAULT_BASE_URL
        self.provider = endpoint.provider
        self.max_tokens = OPENAI_INPUT_TOKENS if served_name.startswith(OPENAI_MODELS) else None
        self._concurrency = concurrency
        self._call_seconds = call_seconds
        found = self._run(endpoint.probe(), call_seconds)
        self.space = Space(model, found, query_prompt or "", document_prompt or "")
        self._size = RequestSize(MOST_TEXTS) if openai else RequestSize()
        self._dispatcher = Dispatcher(endpoint, found, self._size, concurrency, self.max_tokens)

    @property
    def call_characters(self) -> int:
        """For all requests that are sent at a time; more where the server is quick."""
        return self._concurrency * self._size.characters

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), float32, unit length."""
        return self._embed(self.space.document_prompt, texts, self._call_seconds)

    def forget(self, texts: Sequence[str]) -> None:
        """These documents are to be sent again."""
        self._dispatcher.forget([self._cut(self.space.document_prompt + text) for text in texts])

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), float32, unit length."""
        return self._embed(self.space.query_prompt, texts, min(QUERY_SECONDS, self._call_seconds))

    def _embed(self, prompt: str, texts: Sequence[str], seconds: float) -> Vectors:
        if not texts:
            return np.zeros((0, self.space.dimensions), dtype=np.float32)
        sent = [self._cut(prompt + text) for text in texts]
        return normalized(self._run(self._dispatcher.embed(sent), seconds))

    def _cut(self, text: str) -> str:
        return text if self.max_tokens is None else text[: self.max_tokens * TOKEN_CHARACTERS]

    def _run(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        try:
            return run(coroutine, seconds)
        except TimeoutError as error:
            raise ProviderError(
                f"the embedding server {self.provider} needed more than {seconds:g} s"
            ) from error
