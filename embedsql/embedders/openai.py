"""Models behind an OpenAI-compatible ``/v1/embeddings`` endpoint."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx
import numpy as np
from tokenizers import Tokenizer

from embedsql.embedders.base import Space, Vectors, normalized
from embedsql.errors import (
    BadVectorsError,
    ConfigurationError,
    ProviderError,
    TextRejectedError,
    UnknownModelError,
)

DEFAULT_BASE_URL = "https://api.openai.com/v1"
REQUEST_TEXTS = 128
TIMEOUT = httpx.Timeout(60, connect=10)


class OpenAIEmbedder:
    """``openai:<model>``.

    Args:
        model: The name, ``openai:text-embedding-3-small`` say.
        base_url: The server, with or without ``/v1``. ``None``: api.openai.com.
        api_key: ``None``: ``OPENAI_API_KEY``; a server that asks for none needs none.
        dimensions: Sent with each request (the server cuts the vectors). ``None``: the model's
            own, found out with one request.
        query_prompt: Put before each query.
        document_prompt: Put before each document.

    Raises:
        ConfigurationError: The URL, the key or the model is wrong.
        ProviderError: The server does not answer.
    """

    max_tokens: int | None = None
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
    ) -> None:
        self._served_name = model.removeprefix("openai:")
        key = api_key or os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=_endpoint(base_url), headers=headers, timeout=TIMEOUT)
        self._dimensions_asked = dimensions
        found = self._embed("", ["dimensions"]).shape[1]
        self.space = Space(model, found, query_prompt or "", document_prompt or "")

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), float32, unit length."""
        return self._embed(self.space.document_prompt, texts)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), float32, unit length."""
        return self._embed(self.space.query_prompt, texts)

    def _embed(self, prompt: str, texts: Sequence[str]) -> Vectors:
        parts = [
            self._request([prompt + text for text in texts[start : start + REQUEST_TEXTS]])
            for start in range(0, len(texts), REQUEST_TEXTS)
        ]
        return normalized(np.concatenate(parts))

    def _request(self, texts: list[str]) -> Vectors:
        payload: dict[str, object] = {"model": self._served_name, "input": texts}
        if self._dimensions_asked is not None and self._served_name.startswith("text-embedding-3"):
            payload["dimensions"] = self._dimensions_asked
        try:
            response = self._client.post("embeddings", json=payload)
        except httpx.HTTPError as error:
            raise ProviderError(
                f"the embedding server {self._client.base_url} does not answer: "
                f"{str(error) or type(error).__name__}"
            ) from error
        self._refuse_failure(response)
        return _vectors(response, len(texts))

    def _refuse_failure(self, response: httpx.Response) -> None:
        status, where = response.status_code, f"the embedding server {self._client.base_url}"
        if response.is_success:
            return
        said = f"{where} answered {status}: {response.text[:300]}"
        if status == 429 or status >= 500 or status == 408:
            raise ProviderError(said, _seconds(response.headers.get("Retry-After")))
        if status in (401, 403):
            raise ConfigurationError(f"{said} (is OPENAI_API_KEY right?)")
        if status == 404:
            raise UnknownModelError(f"{said} (is the model's name or --base-url right?)")
        raise TextRejectedError(said)


def _endpoint(base_url: str | None) -> str:
    url = (base_url or DEFAULT_BASE_URL).rstrip("/").removesuffix("/embeddings")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"{base_url!r} is no base URL; write http://host:port/v1")
    return url if parts.path else f"{url}/v1"


def _vectors(response: httpx.Response, count: int) -> Vectors:
    try:
        data = sorted(response.json()["data"], key=lambda item: item["index"])
        vectors = np.array([_vector(item["embedding"]) for item in data], dtype=np.float32)
    except (ValueError, KeyError, TypeError) as error:
        raise BadVectorsError(
            f"the embedding server's answer cannot be read: {response.text[:200]}"
        ) from error
    if vectors.ndim != 2 or len(vectors) != count:
        raise BadVectorsError(f"the embedding server gave {len(vectors)} vectors for {count} texts")
    return vectors


def _vector(embedding: str | list[float]) -> Vectors:
    if isinstance(embedding, str):  # base64 of little-endian float32
        return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:
        return None
