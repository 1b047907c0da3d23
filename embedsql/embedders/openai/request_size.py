"""How many texts go into a request, and into how many requests a call is cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

FEWEST_TEXTS = 16  # a call of fewer is not spread over several requests
REQUEST_BYTES = 300_000  # OpenAI takes 300,000 tokens in a request; none is less than a byte


@dataclass
class RequestSize:
    """Learned from the server's answers.

    Attributes:
        ceiling: The server refuses more texts in a request.
        texts: What it copes with: halved by a time-out or a 500, one more with each success.
    """

    ceiling: int
    texts: int = field(init=False)

    def __post_init__(self) -> None:
        self.texts = self.ceiling

    def refused(self, texts: int) -> None:
        """A request of so many failed for their number alone."""
        self.ceiling = max(1, min(self.ceiling, texts // 2))
        self.texts = min(self.texts, self.ceiling)

    def failed(self, texts: int) -> None:
        """A request of so many was too much for the server, or came at a bad time."""
        self.texts = max(1, min(self.texts, texts // 2))

    def answered(self, texts: int) -> None:
        """A request of so many was."""
        if texts >= self.texts:
            self.texts = min(self.texts + 1, self.ceiling)

    def requests(self, texts: Sequence[str], concurrency: int) -> Iterator[Sequence[str]]:
        """A call's texts, in order, cut into requests of like size.

        Args:
            texts: Any number.
            concurrency: Requests that are sent at a time; a large call makes no fewer.
        """
        count = min(concurrency, math.ceil(len(texts) / FEWEST_TEXTS))
        count = max(count, math.ceil(len(texts) / self.texts), 1)
        most = math.ceil(len(texts) / count)
        request: list[str] = []
        size = 0
        for text in texts:
            length = byte_length(text)
            if request and (len(request) >= most or size + length > REQUEST_BYTES):
                yield request
                request, size = [], 0
            request.append(text)
            size += length
        if request:
            yield request


def byte_length(text: str) -> int:
    """Bytes in UTF-8: no fewer than tokens, whatever the tokenizer."""
    return len(text.encode("utf-8", "replace"))
