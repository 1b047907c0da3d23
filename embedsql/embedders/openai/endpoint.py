"""One request to an OpenAI-compatible endpoint: sent, tried again for a moment, its answer read."""

from __future__ import annotations

import asyncio
import json
import random
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import stamina
from pydantic_core import PydanticSerializationError, to_json

from embedsql.embedders.base import Vectors
from embedsql.embedders.openai.answer import Answer, TooSlowError, failure, read_vectors
from embedsql.errors import BadVectorsError, ConfigurationError, ProviderError, TextRejectedError

DEFAULT_BASE_URL = "https://api.openai.com/v1"
HARMLESS = "dimensions"
LARGEST_VECTOR = 512 * 1024  # bytes, as JSON; 16,000 numbers fit
KEEP_ALIVE = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for an endpoint.

    Attributes:
        connect_seconds: For a connection.
        request_seconds: For the whole of one answer, however it trickles in.
        attempts: How often a request is sent whose failure may pass.
        longest_wait: Seconds waited between attempts at most; where the provider asks for more,
            the error goes to the caller, who has other things to do meanwhile.
    """

    connect_seconds: float = 5.0
    request_seconds: float = 30.0
    attempts: int = 4
    longest_wait: float = 5.0


class Endpoint:
    """Where texts are sent. Its coroutines run on one event loop.

    Args:
        base_url: The server, with or without ``/v1``. ``None``: api.openai.com.
        api_key: Sent as a bearer token; empty: none.
        payload: What each request says besides its texts.
        patience: How long to wait for it.

    Attributes:
        provider: The URL without user, password and query; messages may print it.
        base64: Whether vectors are asked for in base64; not of a server that refused it once.

    Raises:
        ConfigurationError: The URL or the key cannot be.
    """

    def __init__(
        self,
        base_url: str | None,
        api_key: str,
        payload: Mapping[str, object],
        patience: Patience,
    ) -> None:
        url = _embeddings_url(base_url or DEFAULT_BASE_URL)
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
            raise ConfigurationError(
                "the API key contains characters that an HTTP header cannot carry"
            )
        # apart from the URL, which HTTP libraries log
        self._auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else None
        self._secrets = [secret for secret in (api_key, url.password) if secret]
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._headers["Content-Type"] = "application/json"
        self._url = url.copy_with(userinfo=b"")
        self._payload = dict(payload)
        self.base64 = True
        self._patience = patience
        self._open_at = 0.0
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.provider = str(self._url.copy_with(query=None)).removesuffix("/embeddings")
        self._server = f"the embedding server {self.provider}"

    async def probe(self) -> int:
        """Ask for the vector of a harmless text; a server that refuses base64 is found out.

        Returns:
            The dimensions of its vectors.

        Raises:
            ConfigurationError: It is refused, so no text is to blame.
            ProviderError: The server is in trouble.
        """
        try:
            return await self._dimensions()
        except (TextRejectedError, BadVectorsError) as error:
            if not self.base64:
                raise ConfigurationError(str(error)) from error
        try:
            self.base64 = False
            return await self._dimensions()
        except (TextRejectedError, BadVectorsError) as error:
            self.base64 = True
            raise ConfigurationError(str(error)) from error

    async def _dimensions(self) -> int:
        vectors = await self.embed([HARMLESS])
        return int(vectors.shape[1])

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of texts that fit into one request.

        Returns:
            Shape (n, dimensions), float32, as the server gives them.

        Raises:
            TextRejectedError: The server refuses the texts, or their number.
            BadVectorsError: It answers with other vectors than asked for.
            ProviderError: It is in trouble, still so after some attempts.
            ConfigurationError: Key, address or model are wrong.
        """
        async for attempt in stamina.retry_context(
            self._pause,
            attempts=self._patience.attempts,
            timeout=None,
            wait_initial=0.25,
            wait_max=self._patience.longest_wait,
            wait_jitter=0.25,
        ):
            with attempt:
                return await self._ask(texts)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, error: Exception) -> bool | float:
        """Whether to try again, or after how many seconds."""
        if not isinstance(error, ProviderError) or isinstance(error, TooSlowError):
            return False
        if error.retry_after is None:
            return True
        if error.retry_after > self._patience.longest_wait:
            return False
        return max(0.1, error.retry_after) * random.uniform(1.0, 1.2)

    async def _ask(self, texts: Sequence[str]) -> Vectors:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._open_at - loop.time())
        seconds = self._patience.request_seconds
        try:
            async with asyncio.timeout(seconds):
                answer = await self._post(texts)
        except TimeoutError as error:
            raise TooSlowError(f"{self._server} did not answer within {seconds:g} s") from error
        except (httpx.HTTPError, OSError) as error:
            words = self._redacted(str(error) or type(error).__name__)
            raise ProviderError(f"{self._server} does not answer: {words}") from error
        if not 200 <= answer.status < 300:
            refusal = failure(answer)
            self._hold_back(refusal)
            raise refusal
        return read_vectors(answer, len(texts))

    def _hold_back(self, error: Exception) -> None:
        """Let no other request meet a limit that the server has just told."""
        seconds = error.retry_after if isinstance(error, ProviderError) else None
        if seconds is not None and seconds <= self._patience.longest_wait:
            self._open_at = max(self._open_at, asyncio.get_running_loop().time() + seconds)

    async def _post(self, texts: Sequence[str]) -> Answer:
        payload = self._payload | {"input": list(texts)}
        if self.base64:
            payload["encoding_format"] = "base64"
        content = _encoded(payload)
        longest = LARGEST_VECTOR * (len(texts) + 2)
        body = bytearray()
        async with self._connected().stream("POST", self._url, content=content) as response:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > longest:
                    raise ProviderError(f"the answer of {self._server} is too long")
        text = self._redacted(body[:1000].decode("utf-8", "replace"))[:300]
        return Answer(self._server, response.status_code, response.headers, body, text or "nothing")

    def _connected(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:  # the first time, or after a fork
            timeout = httpx.Timeout(None, connect=self._patience.connect_seconds)
            self._client = httpx.AsyncClient(
                headers=self._headers, auth=self._auth, timeout=timeout, limits=KEEP_ALIVE
            )
            self._loop = loop
            weakref.finalize(self, _close, self._client, loop)
        return self._client

    def _redacted(self, words: str) -> str:
        for secret in self._secrets:  # some servers repeat the key that they refuse
            words = words.replace(secret, "***")
        return words


def _close(client: httpx.AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(client.aclose(), loop)


def _encoded(payload: Mapping[str, object]) -> bytes:
    try:
        return to_json(payload)
    except PydanticSerializationError:  # half a surrogate pair, which a question can hold
        return json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")


def _embeddings_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.strip())
    except (httpx.InvalidURL, ValueError):  # whose words may quote a password
        raise ConfigurationError("the base URL cannot be read; write http://host:port/v1") from None
    if url.scheme not in ("http", "https") or not url.host or "%" in url.host:
        raise ConfigurationError("the base URL is not valid; write http://host:port/v1")
    path = url.path.rstrip("/").removesuffix("/embeddings") or "/v1"
    return url.copy_with(path=f"{path}/embeddings", fragment=None)
