"""A row's text to chunks that the model reads whole. Pure: no database, no model run.

Splitting is semantic-text-splitter's: the largest units (paragraphs, sentences, words) that fit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from semantic_text_splitter import TextSplitter
from tokenizers import Tokenizer

from embedsql.spec import Chunking

DEFAULT_TOKENS = 256
USUAL_OVERLAP = 64
HEADING_SHARE = 3  # a heading longer than a third of a chunk is not repeated
BOUNDARY_SLACK = 24  # tokens, so that a piece may end with its sentence
_APPROXIMATE_MODEL = "text-embedding-3-small"  # its tokenizer ships with the splitter


@dataclass(frozen=True)
class Chunk:
    """One piece of a row's text.

    Attributes:
        start: Offset of its first character in the row's text.
        text: The piece, as it stands there.
        heading: Put before it, for model and lexemes alike: the row's title, where the piece does
            not contain it.
    """

    start: int
    text: str
    heading: str = ""

    @property
    def content(self) -> str:
        """What is embedded."""
        return f"{self.heading}\n\n{self.text}" if self.heading else self.text

    @cached_property
    def content_hash(self) -> bytes:
        """Digest of exactly what is embedded; 16 bytes.

        One table holds vectors of one space only, so the space needs no part in it.
        """
        return hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).digest()[:16]


class Chunker:
    """Cuts texts for one model.

    Args:
        chunking: ``None``: one chunk for each row, cut where the model stops reading.
        tokenizer: The model's own. ``None``: tokens are counted by OpenAI's.
        max_tokens: What the model reads; ``None``: everything.
    """

    def __init__(
        self, chunking: Chunking | None, tokenizer: Tokenizer | None, max_tokens: int | None
    ) -> None:
        self._whole = chunking is None
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        wanted = (chunking.tokens if chunking else None) or DEFAULT_TOKENS
        self.capacity = wanted if max_tokens is None else min(wanted, max_tokens)
        overlap = chunking.overlap if chunking else 0
        usual = min(USUAL_OVERLAP, self.capacity // 4)
        self._overlap = usual if overlap is None else min(overlap, self.capacity // 2)

    def split(self, text: str, heading: str = "") -> tuple[list[Chunk], bool]:
        """Cut one row's text.

        Args:
            text: Not blank.
            heading: What ``text`` begins with and every chunk should know of, a title say.

        Returns:
            The chunks, in order, and whether the model will not read all of the text.
        """
        if self._whole:
            truncated = self._max_tokens is not None and self._count(text) > self._max_tokens
            return [Chunk(0, text)], truncated
        if self._fits(text, self.capacity):
            return [Chunk(0, text)], False
        room = self.capacity - self._heading_tokens(heading)
        if room == self.capacity:
            heading = ""
        body = len(heading)
        pieces = self._splitter(self._even_size(text[body:], room)).chunk_indices(text[body:])
        chunks = [Chunk(body + start, piece, heading) for start, piece in pieces]
        if not chunks:  # nothing but what the splitter takes for white space
            return [Chunk(0, text)], False
        if heading:  # the first piece follows its heading in the text anyway
            first = chunks[0]
            chunks[0] = Chunk(0, text[: first.start + len(first.text)])
        return chunks, False

    def _even_size(self, text: str, room: int) -> int:
        """The capacity that makes pieces of about equal length.

        Filled to the brim, the last piece is a rest of a sentence or two, whose vector is noise.
        """
        overlap = min(self._overlap, room // 2)
        length = self._count(text) - overlap
        pieces = max(2, math.ceil(length / (room - overlap)))
        return min(room, length // pieces + overlap + BOUNDARY_SLACK)

    def _heading_tokens(self, heading: str) -> int:
        if not heading or len(heading) > self.capacity * 20:
            return 0
        tokens = self._count(heading) + 2
        return tokens if tokens * HEADING_SHARE <= self.capacity else 0

    def _splitter(self, capacity: int) -> TextSplitter:
        overlap = min(self._overlap, capacity // 2)
        if self._tokenizer is None:
            return TextSplitter.from_tiktoken_model(_APPROXIMATE_MODEL, capacity, overlap=overlap)
        return TextSplitter.from_huggingface_tokenizer(self._tokenizer, capacity, overlap=overlap)

    def _fits(self, text: str, tokens: int) -> bool:
        return len(text) <= tokens * 20 and self._count(text) <= tokens

    def _count(self, text: str) -> int:
        return self._counter(text)

    @property
    def _counter(self) -> Callable[[str], int]:
        if self._tokenizer is None:
            return _approximate_tokens
        tokenizer = self._tokenizer
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _approximate_tokens(text: str) -> int:
    # about four bytes of English make a token, three of most other scripts; never fewer than words
    size = len(text.encode("utf-8", "replace"))
    return max(size // (4 if text.isascii() else 2), len(text.split()))
