"""A text that is too long for one chunk, cut into chunks that fit with their context."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from embedsql.chunking.chunk import Chunk
from embedsql.chunking.context import Context, ContextMaker
from embedsql.chunking.markdown import Outline, Section
from embedsql.chunking.pieces import Piece, Splitter
from embedsql.chunking.tokens import TokenCounter, TokenMap

BOUNDARY_SLACK = 24  # tokens, so that a piece may end with its sentence
ATTEMPTS = 3  # to make all pieces fit by making all a little shorter
EXCESS_SHARE = 8  # a piece that is longer by more than an eighth is cut again on its own


@dataclass(frozen=True)
class LongText:
    """One text with what is known of it: its tokens, its headings, and what goes around chunks."""

    text: str
    tokens: TokenMap
    outline: Outline
    context: Context
    markdown: bool


class Cutter:
    """Cuts long texts.

    Args:
        tokenizer: The model's own. ``None``: tokens are counted by OpenAI's.
        contexts: Knows what a context costs.
        capacity: Most tokens in a chunk, its context included.
        overlap: Most tokens that neighbours share.
        markdown: Whether texts are Markdown; ``None``: those with a heading.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        contexts: ContextMaker,
        capacity: int,
        overlap: int,
        markdown: bool | None,
    ) -> None:
        self._tokenizer = tokenizer
        self._contexts = contexts
        self._capacity = capacity
        self._overlap = overlap
        self._markdown = markdown
        self._counter = TokenCounter(tokenizer)

    def cut(self, text: str, context: Context) -> list[Chunk]:
        """The chunks of ``text``, which begins with the context's title, if there is one."""
        body = text[len(context.title) :]
        outline = Outline(body, markdown=self._markdown is not False)
        markdown = bool(self._markdown or outline)
        long = LongText(body, TokenMap(body, self._tokenizer), outline, context, markdown)
        chunks: list[Chunk] = []
        spare = 0
        for _ in range(ATTEMPTS):
            chunks = self._chunks(long, text, spare)
            # on its own, a piece may have a token or two more than it has within the text
            excess = max(self._counts(chunks), default=0) - self._capacity
            if excess <= 0:
                return chunks
            if excess * EXCESS_SHARE > self._capacity:
                break
            spare += excess
        return self._fitted(chunks)

    def _chunks(self, long: LongText, whole: str, spare: int) -> list[Chunk]:
        shift = len(whole) - len(long.text)
        chunks = [
            Chunk(shift + start, piece, *long.context.around(self._path(long, start)))
            for section in self._sections(long, spare)
            for start, piece in self._pieces(long, section, spare)
        ]
        if shift and chunks:  # the first piece follows its title in the text anyway
            chunks[0] = Chunk(0, whole[: chunks[0].end])
        return chunks

    def _sections(self, long: LongText, spare: int) -> list[Section]:
        """Sections that fit a chunk together, joined; headings without a text, with the next."""
        joined: list[Section] = []
        room = 0
        for section in long.outline.sections:
            last = joined[-1] if joined else None
            if last and (
                long.tokens.count(last.start, section.end) <= room
                or not long.text[last.body : last.end].strip()
            ):
                joined[-1] = Section(last.start, section.body, section.end)
            else:
                joined.append(section)
                room = self._room(long, section.start) - spare
        return joined

    def _pieces(self, long: LongText, section: Section, spare: int) -> Sequence[Piece]:
        """A section that fits, whole; else its text in pieces, its headings with the first."""
        text, tokens = long.text, long.tokens
        room = self._room(long, section.start) - spare
        if tokens.count(section.start, section.end) <= room:
            return _trimmed(text, section.start, section.end)
        body = section.body
        lead = tokens.count(section.start, body)
        if lead * 2 > room or not text[body : section.end].strip():
            body, lead = section.start, 0
        room = max(min(room - lead, self._room(long, body) - spare), 1)
        size = self._even_size(tokens.count(body, section.end), room)
        overlap = min(self._overlap, size // 2)
        splitter = Splitter(self._tokenizer, markdown=long.markdown)
        pieces = splitter.split(text, tokens, (body, section.end), size, overlap)
        if lead and pieces:
            start, piece = pieces[0]
            pieces[0] = (section.start, text[section.start : start + len(piece)])
        return pieces

    def _even_size(self, tokens: int, room: int) -> int:
        """The capacity that makes pieces of about equal length.

        Filled to the brim, the last piece is a rest of a sentence or two, whose vector is noise.
        """
        overlap = min(self._overlap, room // 2)
        length = tokens - overlap
        pieces = max(2, math.ceil(length / (room - overlap)))
        return max(min(room, length // pieces + overlap + BOUNDARY_SLACK), 1)

    def _path(self, long: LongText, offset: int) -> str:
        return self._contexts.path(long.context, long.outline.path(offset))

    def _room(self, long: LongText, offset: int) -> int:
        """Tokens that the context of a piece at ``offset`` leaves for it."""
        return self._capacity - self._contexts.tokens(long.context, self._path(long, offset))

    def _counts(self, chunks: Sequence[Chunk]) -> Sequence[int]:
        if self._tokenizer is None:  # the splitter has counted OpenAI's; here is but a guess
            return [0] * len(chunks)
        return self._counter.counts([chunk.content for chunk in chunks])

    def _fitted(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The chunks, those that are still too long cut again."""
        fitted: list[Chunk] = []
        for chunk, count in zip(chunks, self._counts(chunks), strict=True):
            fitted += [chunk] if count <= self._capacity else self._cut_again(chunk, count)
        return sorted(fitted, key=lambda chunk: chunk.start)

    def _cut_again(self, chunk: Chunk, count: int) -> Iterable[Chunk]:
        splitter = Splitter(self._tokenizer, markdown=False)
        room = self._counter.count(chunk.text) - (count - self._capacity)
        while True:
            pieces = [
                chunk._replace(start=chunk.start + start, text=piece)
                for start, piece in splitter.split_exactly(chunk.text, max(room, 1))
            ]
            most = max(self._counter.counts([piece.content for piece in pieces]))
            if most <= self._capacity or room <= 1:
                return pieces
            room -= most - self._capacity


def _trimmed(text: str, start: int, end: int) -> Sequence[Piece]:
    part = text[start:end]
    kept = part.strip()
    return [(start + part.index(kept), kept)] if kept else []
