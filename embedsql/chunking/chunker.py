"""One row's text to chunks, each with what a reader of it alone should know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tokenizers import Tokenizer

from embedsql.chunking.chunk import Chunk
from embedsql.chunking.context import SHARE, Context, ContextMaker
from embedsql.chunking.markdown import Outline
from embedsql.chunking.pieces import Splitter
from embedsql.chunking.tokens import TokenCounter, TokenMap
from embedsql.errors import ConfigurationError
from embedsql.spec import Chunking
from embedsql.template import Template

DEFAULT_TOKENS = 256
USUAL_OVERLAP = 64
BOUNDARY_SLACK = 24  # tokens, so that a piece may end with its sentence


class Chunker:
    """Cuts texts for one model.

    Args:
        chunking: ``None``: one chunk for each row, cut where the model stops reading.
        tokenizer: The model's own. ``None``: tokens are counted by OpenAI's.
        max_tokens: What the model reads; ``None``: everything.
        template: What is embedded of each chunk. ``None``: the heading, if any, and the chunk.

    Raises:
        ConfigurationError: The template's own words leave too little of a chunk.
    """

    def __init__(
        self,
        chunking: Chunking | None,
        tokenizer: Tokenizer | None,
        max_tokens: int | None,
        template: Template | None = None,
    ) -> None:
        self._whole = chunking is None
        chosen = chunking or Chunking()
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._template = template
        self._markdown = chosen.markdown
        wanted = chosen.tokens or DEFAULT_TOKENS
        self.capacity = wanted if max_tokens is None else min(wanted, max_tokens)
        usual = min(USUAL_OVERLAP, self.capacity // 4)
        overlap = chosen.overlap
        self._overlap = usual if overlap is None else min(overlap, self.capacity // 2)
        self._counter = TokenCounter(tokenizer)
        self._contexts = ContextMaker(self._counter, self.capacity)
        self._check_template()

    def split(
        self, text: str, heading: str = "", named: Mapping[str, str] | None = None
    ) -> tuple[list[Chunk], bool]:
        """Cut one row's text.

        Args:
            text: Not blank.
            heading: What ``text`` begins with and every chunk should know of, a title say.
            named: The columns that the template names. ``None``: it is not used.

        Returns:
            The chunks, in order, and whether the model will not read all of the row's text.
        """
        if self._template is None or named is None:
            context = self._contexts.of_title(heading)
            only = Chunk(0, text)
        else:
            context = self._contexts.of_template(self._template, named)
            only = Chunk(0, text, *context.around())
        if self._whole:
            return self._one(text, named)
        if self._counter.fits(only.content, self.capacity):
            return [only], context.cut
        # the first piece follows its title in the text anyway
        body = len(context.title)
        chunks = self._cut(text[body:], body, context)
        if not chunks:  # nothing but what the splitter takes for white space
            return [only], context.cut
        if body:
            chunks[0] = Chunk(0, text[: chunks[0].end])
        return self._fitted(chunks), context.cut

    def _one(self, text: str, named: Mapping[str, str] | None) -> tuple[list[Chunk], bool]:
        around = ("", "")
        if self._template is not None and named is not None:
            around = self._template.around(named)
        chunk = Chunk(0, text, *around)
        most = self._max_tokens
        return [chunk], most is not None and self._counter.count(chunk.content) > most

    def _cut(self, text: str, body: int, context: Context) -> list[Chunk]:
        outline = Outline("" if self._markdown is False else text)
        longest = self._contexts.path(context, outline.longest)
        room = self.capacity - self._contexts.tokens(context, longest)
        tokens = TokenMap(text, self._tokenizer)
        size, overlap = self._even_size(len(tokens), room), min(self._overlap, room // 2)
        splitter = Splitter(self._tokenizer, markdown=bool(self._markdown or outline))
        return [
            Chunk(
                body + start,
                piece,
                *context.around(self._contexts.path(context, outline.path(start))),
            )
            for start, piece in splitter.split(text, tokens, size, min(overlap, size // 2))
        ]

    def _even_size(self, tokens: int, room: int) -> int:
        """The capacity that makes pieces of about equal length.

        Filled to the brim, the last piece is a rest of a sentence or two, whose vector is noise.
        """
        overlap = min(self._overlap, room // 2)
        length = tokens - overlap
        pieces = max(2, math.ceil(length / (room - overlap)))
        return max(min(room, length // pieces + overlap + BOUNDARY_SLACK), 1)

    def _fitted(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The chunks, those cut again that have more tokens alone than they had in the text."""
        if self._tokenizer is None:
            return list(chunks)
        counts = self._counter.counts([chunk.content for chunk in chunks])
        if max(counts) <= self.capacity:
            return list(chunks)
        fitted: list[Chunk] = []
        for chunk, count in zip(chunks, counts, strict=True):
            fitted += [chunk] if count <= self.capacity else self._cut_again(chunk, count)
        return sorted(fitted, key=lambda chunk: chunk.start)

    def _cut_again(self, chunk: Chunk, count: int) -> Iterable[Chunk]:
        splitter = Splitter(self._tokenizer, markdown=False)
        room = self._counter.count(chunk.text) - (count - self.capacity)
        while True:
            pieces = [
                replace(chunk, start=chunk.start + start, text=piece)
                for start, piece in splitter.split_exactly(chunk.text, max(room, 1))
            ]
            most = max(self._counter.counts([piece.content for piece in pieces]))
            if most <= self.capacity or room <= 1:
                return pieces
            room -= most - self.capacity

    def _check_template(self) -> None:
        if self._template is None:
            return
        words = self._counter.count(self._template.words)
        if words * SHARE > self.capacity:
            raise ConfigurationError(
                f"the template's own words are {words} tokens, more than a third of a chunk of "
                f"{self.capacity}: shorten them, or take longer chunks"
            )
