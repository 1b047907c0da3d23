"""One call's texts, sent in several requests at a time, in halves where a request fails."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from embedsql.embedders.base import Vectors
from embedsql.embedders.openai.answer import ServerFailedError, TooSlowError
from embedsql.embedders.openai.endpoint import Endpoint
from embedsql.embedders.openai.request_size import RequestSize, byte_length
from embedsql.errors import (
    BadVectorsError,
    EmbeddingError,
    ProviderError,
    SpaceMismatchError,
    TextRejectedError,
)

KEPT_BYTES = 32 * 1024 * 1024  # of vectors
MOST_AT_FAULT = 1000


class Recent:
    """The vectors made last, so that no text is paid for twice when its call or batch fails."""

    def __init__(self, dimensions: int) -> None:
        self._most = KEPT_BYTES // (4 * dimensions)
        self._vectors: dict[str, Vectors] = {}  # a dict keeps its order

    def find(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Those of these texts that are kept."""
        kept = self._vectors
        return {text: kept[text] for text in texts if text in kept}

    def keep(self, vectors: Mapping[str, Vectors]) -> None:
        """Keep these, and forget the oldest."""
        self._vectors.update(vectors)
        for text in list(islice(self._vectors, max(len(self._vectors) - self._most, 0))):
            del self._vectors[text]

    def forget(self, texts: Sequence[str]) -> None:
        """These are to be made again."""
        for text in texts:
            self._vectors.pop(text, None)


class Dispatcher:
    """Sends the texts of calls.

    Args:
        endpoint: Where to.
        dimensions: Of the vectors that are due.
        size: How many texts in a request.
        concurrency: Requests at a time, for each call.
        max_tokens: Tokens of a text that the server takes; ``None``: not known.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        dimensions: int,
        size: RequestSize,
        concurrency: int,
        max_tokens: int | None,
    ) -> None:
        self._endpoint = endpoint
        self._dimensions = dimensions
        self._size = size
        self._concurrency = concurrency
        self._max_tokens = max_tokens
        self._recent = Recent(dimensions)
        self._at_fault: OrderedDict[str, EmbeddingError] = OrderedDict()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of any number of texts; those answered before an error are kept.

        Args:
            texts: At least one.

        Returns:
            Shape (n, dimensions), float32, as the server gives them.

        Raises:
            EmbeddingError: A text is at fault; a caller that halves the call finds it, and pays
                for no other text again.
            ProviderError: The server is in trouble.
            ConfigurationError: Key, address or model are wrong.
        """
        found = self._recent.find(texts)
        self._raise_fault(texts)
        try:
            await self._send_all(
                [text for text in dict.fromkeys(texts) if text not in found], found
            )
        finally:
            self._recent.keep(found)
        self._raise_fault(texts)
        return np.concatenate([found[text] for text in texts]).reshape(len(texts), -1)

    def _raise_fault(self, texts: Sequence[str]) -> None:
        """Raise for a text that was at fault before, instead of sending it again.

        Once its caller has halved its way down to this text alone and was told, it is forgotten.
        """
        if not self._at_fault:
            return
        for text in texts:
            if text in self._at_fault:
                raise self._at_fault.pop(text) if len(texts) == 1 else self._at_fault[text]

    def forget(self, texts: Sequence[str]) -> None:
        """Send these again, though their vectors may be kept; between two calls."""
        self._recent.forget(texts)

    async def _send_all(self, texts: Sequence[str], found: dict[str, Vectors]) -> None:
        waiting = deque(self._size.requests(texts, self._concurrency))
        senders = [self._send_waiting(waiting, found) for _ in range(self._concurrency)]
        # requests under way are awaited: they are paid for, so their vectors should be kept
        errors = [e for e in await asyncio.gather(*senders, return_exceptions=True) if e]
        for error in sorted(errors, key=lambda error: isinstance(error, ProviderError)):
            raise error

    async def _send_waiting(self, waiting: deque[Sequence[str]], found: dict[str, Vectors]) -> None:
        while waiting:
            try:
                await self._send(waiting.popleft(), found)
            except Exception:
                waiting.clear()  # the others would fare no better
                raise

    async def _send(self, texts: Sequence[str], found: dict[str, Vectors]) -> None:
        """Send a request; where it fails for what is in it, send its halves."""
        if len(texts) > self._size.most_texts:  # the limit has shrunk since the call was cut
            await self._send_halves(texts, found)
            return
        base64 = self._endpoint.base64
        started = time.monotonic()
        try:
            vectors = await self._endpoint.embed(texts)
        except (TextRejectedError, BadVectorsError, ServerFailedError, TooSlowError) as error:
            if isinstance(error, TooSlowError) and len(texts) > 1:
                self._size.failed(len(texts))
            if isinstance(error, ProviderError) or len(texts) == 1:
                await self._endpoint.probe()  # raises where it would fail on any text
            if base64 != self._endpoint.base64:  # it was base64 that it refused
                await self._send(texts, found)
            elif len(texts) == 1:
                await self._blame(texts[0], error, found)
            else:
                await self._send_halves(texts, found)
                whole = all(text in found for text in texts) and base64 == self._endpoint.base64
                if whole and isinstance(error, TextRejectedError):
                    self._size.refused(len(texts))
                elif whole and isinstance(error, ServerFailedError):
                    self._size.failed(len(texts))
        except ProviderError:
            self._size.held_back()
            raise
        else:
            self._check_dimensions(vectors)
            seconds = time.monotonic() - started
            self._size.answered(len(texts), sum(map(len, texts)), seconds)
            found.update(zip(texts, vectors, strict=True))

    async def _send_halves(self, texts: Sequence[str], found: dict[str, Vectors]) -> None:
        middle = len(texts) // 2
        await self._send(texts[:middle], found)
        await self._send(texts[middle:], found)

    async def _blame(self, text: str, error: EmbeddingError, found: dict[str, Vectors]) -> None:
        """Cut a text that may be too long; note one that is at fault otherwise."""
        cut = text
        while isinstance(error, TextRejectedError) and self._may_be_too_long(cut):
            cut = cut[: len(cut) * 3 // 4]
            try:
                vectors = await self._endpoint.embed([cut])
                self._check_dimensions(vectors)
                found[text] = vectors[0]
                return
            except TextRejectedError as again:
                error = again
        if isinstance(error, ProviderError):  # it answers other texts: this one is at fault
            error = EmbeddingError(f"{error} (to this text alone)")
        self._at_fault[text] = error
        while len(self._at_fault) > MOST_AT_FAULT:
            self._at_fault.popitem(last=False)

    def _may_be_too_long(self, text: str) -> bool:
        return self._max_tokens is not None and byte_length(text) > self._max_tokens

    def _check_dimensions(self, vectors: Vectors) -> None:
        if vectors.shape[1] != self._dimensions:
            raise SpaceMismatchError(
                f"the embedding server {self._endpoint.provider} gives vectors of "
                f"{vectors.shape[1]} dimensions now, and gave {self._dimensions} before: "
                "it serves another model by this name"
            )
