"""Counting a model's tokens: of short texts one by one, of a long text once for all its parts."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

# Characters: a text with more for each token allowed is too long without counting.
LONGEST_TOKEN = 20
# Characters tokenized at a time: an encoding takes 100 bytes for each token.
BLOCK = 16_000


class TokenCounter:
    """Tokens of one model.

    Args:
        tokenizer: The model's own, without truncation. ``None``: a cautious guess by length.
    """

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        """Tokens of ``text``, special ones left out."""
        return self.counts([text])[0]

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        if self._tokenizer is None:
            return [_guess(text) for text in texts]
        return [
            len(encoding)
            for group in _groups(texts)
            for encoding in self._tokenizer.encode_batch_fast(group, add_special_tokens=False)
        ]

    def fits(self, text: str, tokens: int) -> bool:
        """Whether ``text`` has at most so many tokens; far longer ones are not counted."""
        return len(text) <= tokens * LONGEST_TOKEN and self.count(text) <= tokens

    def beginning(self, text: str, tokens: int) -> str:
        """As much of the beginning of ``text`` as has so many tokens, cut between two tokens."""
        if self.fits(text, tokens):
            return text
        head = text[: max(tokens, 0) * LONGEST_TOKEN]
        found = head[: TokenMap(head, self._tokenizer).offset(tokens)].rstrip()
        while found and self.count(found) > tokens:  # a cut word may have more tokens than before
            found = found[: len(found) * 3 // 4].rstrip()
        return found


class TokenMap:
    """Where the tokens of one text stand, so that any part of it is counted without tokenizing.

    A part that begins or ends within a word may have some tokens more on its own.

    Args:
        text: The text.
        tokenizer: As for ``TokenCounter``.
    """

    def __init__(self, text: str, tokenizer: Tokenizer | None) -> None:
        self._length = len(text)
        self._starts: Sequence[int] | array[int]
        self._ends: Sequence[int] | array[int]
        if tokenizer is None:
            width = max(len(text) // max(_guess(text), 1), 1)
            self._starts = range(0, len(text), width)
            self._ends = range(width, len(text) + width, width)
        else:
            self._starts, self._ends = array("l"), array("l")
            for begin, block in _blocks(text):
                offsets = tokenizer.encode(block, add_special_tokens=False).offsets
                self._starts.extend(begin + start for start, _ in offsets)
                self._ends.extend(begin + end for _, end in offsets)

    def __len__(self) -> int:
        return len(self._starts)

    def count(self, start: int, end: int) -> int:
        """Tokens that have a character in ``text[start:end]``."""
        return max(bisect_left(self._starts, end) - bisect_right(self._ends, start), 0)

    def offset(self, tokens: int) -> int:
        """Where the token number ``tokens`` begins; the text's length where it has no more."""
        return self._starts[tokens] if tokens < len(self._starts) else self._length

    def after(self, start: int, tokens: int) -> int:
        """The offset that is so many tokens behind the offset ``start``."""
        return self.offset(bisect_left(self._starts, start) + tokens)


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Parts of a text, cut at white space where there is some, each with its offset."""
    begin = 0
    while begin < len(text):
        end = len(text)
        if end - begin > BLOCK:
            space = text.rfind(" ", begin + BLOCK // 2, begin + BLOCK)
            end = begin + BLOCK if space < 0 else space
        yield begin, text[begin:end]
        begin = end


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts of about a block together."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > BLOCK:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


def _guess(text: str) -> int:
    # about four bytes of English make a token; other scripts are taken at two, to be on the safe
    # side; and there are never fewer tokens than words
    size = len(text.encode("utf-8", "replace"))
    return max(size // (4 if text.isascii() else 2), len(text.split()))
