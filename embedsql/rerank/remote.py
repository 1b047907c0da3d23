"""A rerank endpoint: one request for each call, tried again for a moment, its answer checked."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import stamina

from embedsql.errors import ConfigurationError, RerankError

CONNECT_SECONDS = 5.0
ATTEMPTS = 3
MOST_BYTES = 8 << 20
PASSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class _PassingError(RerankError):
    """Perhaps only now."""


@dataclass(frozen=True)
class EndpointReranker:
    """See ``embedsql.rerank.endpoint``.

    Attributes:
        url: Where to post, without user and password; messages may print it.
        model: Its name there; ``None``: a server of one model.
        timeout: Seconds for a call.
        headers: What each request carries.
        auth: User and password of the URL.
    """

    url: str
    model: str | None
    timeout: float
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    auth: httpx.BasicAuth | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, base_url: str, model: str | None, *, api_key: str | None, timeout: float
    ) -> EndpointReranker:
        """Of a server's address; see ``embedsql.rerank.endpoint``."""
        key = (api_key or os.environ.get("EMBEDSQL_RERANK_API_KEY") or "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigurationError(
                "the rerank API key contains characters that an HTTP header cannot carry"
            )
        if not timeout > 0:
            raise ConfigurationError(f"the rerank timeout must be above 0 seconds, not {timeout}")
        url = _rerank_url(base_url)
        auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return cls(str(url.copy_with(userinfo=b"")), model or None, timeout, headers, auth)

    def within(self, seconds: float) -> EndpointReranker:
        """The same, that takes no longer than ``seconds`` for a call."""
        return replace(self, timeout=min(self.timeout, max(seconds, 0.001)))

    def __call__(self, query: str, passages: Sequence[str], /) -> Sequence[float]:
        """The server's scores.

        Raises:
            RerankError: None came in time, or they cannot be read.
        """
        deadline = time.monotonic() + self.timeout
        for attempt in stamina.retry_context(
            on=_PassingError,
            attempts=ATTEMPTS,
            timeout=self.timeout,
            wait_initial=0.1,
            wait_max=0.5,
        ):
            with attempt:
                return _scores(self._answer(query, passages, deadline), len(passages))
        raise AssertionError("unreachable")

    def _answer(self, query: str, passages: Sequence[str], deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise RerankError(f"{self.url} gave no scores within {self.timeout:g} s")
        patience = httpx.Timeout(left, connect=min(left, CONNECT_SECONDS))
        try:
            with httpx.stream(
                "POST",
                self.url,
                json=self._payload(query, passages),
                headers=self.headers,
                auth=self.auth,
                timeout=patience,
            ) as response:
                content = self._read(response, deadline)
        except httpx.TimeoutException as error:
            raise RerankError(f"{self.url} gave no scores within {self.timeout:g} s") from error
        except httpx.HTTPError as error:
            raise _PassingError(f"{self.url} cannot be asked: {type(error).__name__}") from error
        if response.status_code != 200:
            kind = _PassingError if response.status_code in PASSES else RerankError
            said = " ".join(content[:200].decode(errors="replace").split())
            for secret in self.headers.values():
                said = said.replace(secret.removeprefix("Bearer "), "…")
            raise kind(f"{self.url} answered {response.status_code}: {said or 'nothing more'}")
        return content

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        content = bytearray()
        for block in response.iter_bytes():
            content += block
            if time.monotonic() > deadline:
                raise RerankError(f"{self.url} gave no scores within {self.timeout:g} s")
            if len(content) > MOST_BYTES:
                raise RerankError(f"the answer of {self.url} is too long")
        return bytes(content)

    def _payload(self, query: str, passages: Sequence[str]) -> dict[str, Any]:
        if self.model is None:
            return {"query": query, "texts": list(passages), "truncate": True}
        return {
            "model": self.model,
            "query": query,
            "documents": list(passages),
            "top_n": len(passages),
        }


def _rerank_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.strip())
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigurationError("the rerank URL cannot be read") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError("a rerank URL starts with http:// or https:// and names a host")
    path = url.path.rstrip("/")
    return url.copy_with(path=path if path.endswith("/rerank") else f"{path}/rerank")


def _scores(content: bytes, count: int) -> list[float]:
    """By index, of Jina's and Cohere's ``{"results": […]}`` or the bare list of the other kind."""
    try:
        document = json.loads(content)
        items = document["results"] if isinstance(document, dict) else document
        found = {
            int(item["index"]): float(
                item["relevance_score"] if "relevance_score" in item else item["score"]
            )
            for item in items
        }
    except (ValueError, KeyError, TypeError) as error:
        raise RerankError("the rerank endpoint's answer holds no scores by index") from error
    if len(items) != count or sorted(found) != list(range(count)):
        raise RerankError(f"the rerank endpoint gave {len(items)} scores for {count} passages")
    return [found[place] for place in range(count)]
