"""How many texts go into a request, and into how many requests a call is cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

FEWEST_TEXTS = 16  # a call of fewer is not spread over several requests
FIRST_TEXTS = 128  # a server that takes fewer says so, and it is learned
MOST_TEXTS = 2048  # OpenAI's limit
FIRST_CHARACTERS = 50_000  # some 12,000 tokens
REQUEST_BYTES = 300_000  # OpenAI takes 300,000 tokens in a request; none is less than a byte
QUICK_SECONDS = 0.5  # an answer within them does not show what the server copes with


@dataclass
class RequestSize:
    """Learned from the server's answers.

    Attributes:
        texts: What it copes with: halved by a time-out or a 500, one more with each success, twice
            as many with a quick one.
        characters: What a request should bring, where the call has as much.
        ceiling: The server refuses more texts in a request.
    """

    texts: int = FIRST_TEXTS
    characters: int = FIRST_CHARACTERS
    ceiling: int = MOST_TEXTS
    _usual: int = field(init=False)
    _doubled_to: int = MOST_TEXTS

    def __post_init__(self) -> None:
        self._usual = self.texts

    def refused(self, texts: int) -> None:
        """A request of so many failed for their number alone."""
        self.ceiling = max(1, min(self.ceiling, texts // 2))
        self.texts = min(self.texts, self.ceiling)

    def failed(self, texts: int) -> None:
        """A request of so many was too much for the server, or came at a bad time."""
        self.texts = self._doubled_to = max(1, min(self.texts, texts // 2))
        self.characters = max(FIRST_CHARACTERS, self.characters // 2)

    def answered(self, texts: int, characters: int, seconds: float) -> None:
        """A request of so many was."""
        if 2 * texts < self.texts and 2 * characters < self.characters:
            return  # which says nothing of larger ones
        more = min(self.texts + 1, self._usual)
        if seconds < QUICK_SECONDS:
            more = max(more, min(2 * self.texts, self._doubled_to))
            self.characters = min(2 * self.characters, REQUEST_BYTES)
        self.texts = min(max(self.texts, more), self.ceiling)

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
            length = len(text) if text.isascii() else byte_length(text)
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
