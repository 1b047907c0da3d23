"""One row's text to chunks, each with what a reader of it alone should know."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer

from embedsql.choices import Chunking
from embedsql.chunking.chunk import Chunk
from embedsql.chunking.context import SHARE, ContextMaker
from embedsql.chunking.cutter import Cutter
from embedsql.chunking.tokens import TokenCounter
from embedsql.errors import ConfigurationError
from embedsql.template import Template

DEFAULT_TOKENS = 192  # measured: docs/architecture.md, Chunking
USUAL_OVERLAP = 32


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
        self._max_tokens = max_tokens
        self._template = template
        wanted = chosen.tokens or DEFAULT_TOKENS
        self.capacity = wanted if max_tokens is None else min(wanted, max_tokens)
        usual = min(USUAL_OVERLAP, self.capacity // 4)
        overlap = chosen.overlap
        overlap = usual if overlap is None else min(overlap, self.capacity // 2)
        self._counter = TokenCounter(tokenizer)
        self._contexts = ContextMaker(self._counter, self.capacity)
        self._cutter = Cutter(tokenizer, self._contexts, self.capacity, overlap, chosen.markdown)
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
        if self._whole:
            return self._one(text, named)
        if self._template is None or named is None:
            context = self._contexts.of_title(heading)
            only = Chunk(0, text)
        else:
            context = self._contexts.of_template(self._template, named)
            only = Chunk(0, text, *context.around())
        if self._counter.fits(only.content, self.capacity):
            return [only], context.cut
        chunks = self._cutter.cut(text, context)
        # no chunks: the text is nothing but what the splitter takes for white space
        return chunks or [only], context.cut

    def _one(self, text: str, named: Mapping[str, str] | None) -> tuple[list[Chunk], bool]:
        around = ("", "")
        if self._template is not None and named is not None:
            around = self._template.around(named)
        chunk = Chunk(0, text, *around)
        most = self._max_tokens
        return [chunk], most is not None and self._counter.count(chunk.content) > most

    def _check_template(self) -> None:
        if self._template is None:
            return
        words = self._counter.count(self._template.words)
        if words * SHARE > self.capacity:
            raise ConfigurationError(
                f"the template's own words are {words} tokens, more than a third of a chunk of "
                f"{self.capacity}: shorten them, or make the chunks longer"
            )
