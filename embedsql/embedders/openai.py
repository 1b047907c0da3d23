"""Models behind an OpenAI-compatible ``/v1/embeddings`` endpoint."""

from __future__ import annotations

import base64
import math
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
LONGEST_RETRY_AFTER = 3600.0
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
    call_characters = 200_000  # about 50,000 tokens; OpenAI takes 300,000 in a request
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
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=_endpoint(base_url), headers=headers, timeout=TIMEOUT)
        # what messages may print: a URL can hold a password
        self._where = f"the embedding server {self._client.base_url.copy_with(userinfo=b'')}"
        self._dimensions_asked = dimensions
        try:
            found = self._embed("", ["dimensions"]).shape[1]
        except (TextRejectedError, BadVectorsError) as error:  # a harmless text is not to blame
            raise ConfigurationError(str(error)) from error
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
        if not parts:
            return np.zeros((0, self.space.dimensions), dtype=np.float32)
        return normalized(np.concatenate(parts))

    def _request(self, texts: list[str]) -> Vectors:
        payload: dict[str, object] = {"model": self._served_name, "input": texts}
        if self._dimensions_asked is not None and self._served_name.startswith("text-embedding-3"):
            payload["dimensions"] = self._dimensions_asked
        try:
            response = self._client.post("embeddings", json=payload)
        except httpx.HTTPError as error:
            raise ProviderError(
                f"{self._where} does not answer: {str(error) or type(error).__name__}"
            ) from error
        self._refuse_failure(response)
        return _vectors(response, len(texts))

    def _refuse_failure(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        said = f"{self._where} answered {status}: {response.text[:300]}"
        if status == 429 or status >= 500 or status == 408:
            raise ProviderError(said, _seconds(response.headers.get("Retry-After")))
        if status in (401, 403):
            raise ConfigurationError(f"{said} (is OPENAI_API_KEY right?)")
        if status == 404:
            raise UnknownModelError(f"{said} (is the model's name or --base-url right?)")
        if status in (400, 413, 422):
            raise TextRejectedError(said)
        raise ConfigurationError(said)


def _endpoint(base_url: str | None) -> str:
    url = (base_url or DEFAULT_BASE_URL).rstrip("/").removesuffix("/embeddings")
    try:
        parts = urlsplit(url)
        httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigurationError(f"the base URL cannot be read: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("that is no base URL; write http://host:port/v1")
    return url if parts.path.strip("/") else f"{url}/v1"


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
        seconds = float(retry_after or "nan")
    except ValueError:
        return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_RETRY_AFTER)
