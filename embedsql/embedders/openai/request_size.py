"""How many texts go into a request, and into how many requests a call is cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

FEWEST_TEXTS = 16  # a call of fewer is not spread over several requests
FIRST_TEXTS = 128  # a server that takes fewer refuses, and its limit is learned
MOST_TEXTS = 2048  # OpenAI's limit
FIRST_CHARACTERS = 50_000  # some 12,000 tokens
REQUEST_BYTES = 300_000  # OpenAI takes 300,000 tokens in a request; none is less than a byte
QUICK_SECONDS = 0.5  # an answer within them: the server may well take more
SLOW_SECONDS = 5.0
MOST_CAUTION = 64


@dataclass
class RequestSize:
    """Learned from the server's answers.

    A server that answers in no time is asked for more at once, up to sixteen times as many texts
    or six times as many characters, for a request takes milliseconds of its own. What is too much
    is halved and grows again, with caution.

    Attributes:
        texts: In a request that has not grown: halved by what is too much, one more with each
            answer.
        ceiling: The server refuses more texts in a request.
    """

    texts: int = FIRST_TEXTS
    ceiling: int = MOST_TEXTS
    _usual: int = field(init=False)
    _text_growth: int = 1
    _character_growth: int = 1
    _quick: int = 0  # answers since the last growth
    _caution: int = 1  # quick answers before the next growth; 0: there will be none

    def __post_init__(self) -> None:
        self._usual = self.texts

    @property
    def most_texts(self) -> int:
        """In a request."""
        return min(self.texts * self._text_growth, self.ceiling)

    @property
    def characters(self) -> int:
        """What a request should bring, where the call has as much."""
        return min(FIRST_CHARACTERS * self._character_growth, REQUEST_BYTES)

    def refused(self, texts: int) -> None:
        """A request failed for its size alone, as any of this size will."""
        if self._shrunk():  # too many texts or too many characters? not known, so never grow again
            self._caution = 0
        else:
            self.ceiling = max(1, min(self.ceiling, texts // 2))
            self.texts = min(self.texts, self.ceiling)

    def failed(self, texts: int) -> None:
        """A request of so many was too much for the server, or came at a bad time."""
        if not self._shrunk():
            self.texts = max(1, min(self.texts, texts // 2))
        self._caution = min(self._caution * 8, MOST_CAUTION)

    def held_back(self) -> None:
        """The server asks for patience: it may allow so much in a minute, and this was more."""
        if self._shrunk():
            self._caution = min(self._caution * 8, MOST_CAUTION)

    def answered(self, texts: int, characters: int, seconds: float) -> None:
        """A request of so many was."""
        many, long = 2 * texts >= self.most_texts, 2 * characters >= self.characters
        if not many and not long:
            return  # so small a request says nothing about larger ones
        if seconds > SLOW_SECONDS and self._shrunk():
            return
        if many and self.texts < self._usual:
            self.texts = min(self.texts + 1, self.ceiling)
        elif seconds < QUICK_SECONDS and self._caution:
            self._grow(many, long)

    def _grow(self, many: bool, long: bool) -> None:
        self._quick += 1
        if self._quick < self._caution:
            return
        self._quick = 0
        if many and self.most_texts < self.ceiling:
            self._text_growth *= 2
        if long and self.characters < REQUEST_BYTES:
            self._character_growth *= 2

    def _shrunk(self) -> bool:
        """Halve what has grown; whether anything had."""
        before = self._text_growth, self._character_growth
        self._text_growth, self._character_growth = (max(one // 2, 1) for one in before)
        self._quick = 0
        return max(before) > 1

    def requests(self, texts: Sequence[str], concurrency: int) -> Iterator[Sequence[str]]:
        """A call's texts, in order, cut into requests of like size.

        Args:
            texts: Any number.
            concurrency: Requests that are sent at a time; a large call makes no fewer.
        """
        count = min(concurrency, math.ceil(len(texts) / FEWEST_TEXTS))
        count = max(count, math.ceil(len(texts) / self.most_texts), 1)
        most = math.ceil(len(texts) / count)
        for start in range(0, len(texts), max(most, 1)):
            yield from _within(texts[start : start + most], REQUEST_BYTES)


def _within(texts: Sequence[str], most_bytes: int) -> Iterator[Sequence[str]]:
    """The texts in parts of so many bytes at most; a longer one stands alone."""
    lengths = list(map(byte_length, texts))
    if sum(lengths) <= most_bytes:
        yield texts
        return
    part: list[str] = []
    size = 0
    for text, length in zip(texts, lengths, strict=True):
        if part and size + length > most_bytes:
            yield part
            part, size = [], 0
        part.append(text)
        size += length
    yield part


def byte_length(text: str) -> int:
    """Bytes in UTF-8: no fewer than tokens, whatever the tokenizer."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
