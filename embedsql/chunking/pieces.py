"""Where a long text is cut: semantic-text-splitter's choice, fed with counts that cost nothing.

It takes the largest units (Markdown sections, paragraphs, sentences, words) that fit. Two things
make it fast on long texts. Sizes come from one pass of the tokenizer over the whole text, not from
one for each candidate. And it sees a window of some chunks at a time: where a text has no
sentences (a list of names, Chinese without punctuation), it looks through all that is left for each
chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from embedsql.chunking.tokens import TokenMap

WINDOW = 8  # chunks
_APPROXIMATE_MODEL = "text-embedding-3-small"  # its tokenizer ships with the splitter

Piece = tuple[int, str]


class Splitter:
    """Cuts texts into pieces, each with its offset.

    Args:
        tokenizer: The model's own; ``None``: tokens are counted by OpenAI's.
        markdown: Whether to cut where Markdown's structure says.
    """

    def __init__(self, tokenizer: Tokenizer | None, *, markdown: bool) -> None:
        self._tokenizer = tokenizer
        self._kind = MarkdownSplitter if markdown else TextSplitter

    def split(
        self, text: str, tokens: TokenMap, part: tuple[int, int], capacity: int, overlap: int
    ) -> list[Piece]:
        """Cut a part of ``text``.

        Args:
            text: The text.
            tokens: Where its tokens stand.
            part: From which offset to which.
            capacity: Most tokens in a piece, by ``tokens``.
            overlap: Most tokens that neighbours share.
        """
        pieces: list[Piece] = []
        begin, last = part
        while begin < last:
            end = min(tokens.after(begin, WINDOW * capacity), last)
            found = self._split_window(text[begin:end], begin, tokens, capacity, overlap)
            if end < last and len(found) > 1 and found[-1][0] > begin:
                begin = found[-1][0]  # the last one met the window's end: it is cut again
                found = found[:-1]
            else:
                begin = end
            pieces += found
        return pieces

    def split_exactly(self, text: str, capacity: int) -> list[Piece]:
        """Cut a short text, tokenizing each candidate, without overlap."""
        found: list[Piece] = self._own(capacity, 0).chunk_indices(text)
        return found

    def _split_window(
        self, window: str, begin: int, tokens: TokenMap, capacity: int, overlap: int
    ) -> Sequence[Piece]:
        splitter = (
            self._own(capacity, overlap)
            if self._tokenizer is None
            else self._kind.from_callback(_sizes(window, begin, tokens), capacity, overlap=overlap)
        )
        return [(begin + start, piece) for start, piece in splitter.chunk_indices(window)]

    def _own(self, capacity: int, overlap: int) -> TextSplitter | MarkdownSplitter:
        if self._tokenizer is None:
            return self._kind.from_tiktoken_model(_APPROXIMATE_MODEL, capacity, overlap=overlap)
        return self._kind.from_huggingface_tokenizer(self._tokenizer, capacity, overlap=overlap)


def _sizes(window: str, begin: int, tokens: TokenMap) -> Callable[[str], int]:
    # the splitter asks for parts of the window without saying where they stand; another part of
    # equal text has as many tokens
    def size(part: str) -> int:
        start = begin + window.find(part)
        return tokens.count(start, start + len(part))

    return size
