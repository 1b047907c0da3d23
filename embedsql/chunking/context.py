"""What is put around the chunks of one row: title, template, Markdown headings; and its share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embedsql.chunking.markdown import SEPARATOR
from embedsql.chunking.tokens import TokenCounter
from embedsql.template import HEADING, Template

SHARE = 3  # at most a third of a chunk's tokens


@dataclass(frozen=True)
class Context:
    """The same for every chunk of a row, but for the path of Markdown headings.

    Attributes:
        title: Put before each chunk, where there is no template.
        template: Says what stands around a chunk.
        values: The columns that it names.
        cut: Whether a value was cut to keep its share.
        path_tokens: What is left for the path.
    """

    title: str = ""
    template: Template | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    path_tokens: int = 0

    def around(self, path: str = "") -> tuple[str, str]:
        """What stands before and after a chunk under the headings ``path``."""
        if self.template is None:
            return "".join(f"{part}\n\n" for part in (self.title, path) if part), ""
        before, after = self.template.around({HEADING: path, **self.values})
        if path and not self.template.takes_heading:
            before += f"{path}\n\n"
        return before, after


class ContextMaker:
    """Makes the context of each row.

    Args:
        counter: Of the model's tokens.
        capacity: Tokens of a chunk.
    """

    def __init__(self, counter: TokenCounter, capacity: int) -> None:
        self._counter = counter
        self._share = capacity // SHARE

    def of_title(self, title: str) -> Context:
        """A title before each chunk; none that is longer than its share."""
        if not title or not self._counter.fits(title, self._share - 2):
            return Context(path_tokens=self._share)
        return Context(title, path_tokens=self._share - self._counter.count(title) - 2)

    def of_template(self, template: Template, values: Mapping[str, str]) -> Context:
        """A template; values that together exceed their share are cut, the longest first."""
        left = self._share - self._counter.count(template.words)
        cut: dict[str, str] = {}
        for name in sorted(values, key=lambda name: len(values[name])):
            each = max(left, 0) // (len(values) - len(cut))
            cut[name] = self._counter.beginning(values[name], each)
            left -= self._counter.count(cut[name])
        return Context("", template, cut, cut != dict(values), left)

    def path(self, context: Context, headings: Sequence[str]) -> str:
        """``Install > From source``: as much of it, from its end, as has its share."""
        if context.title and headings[:1] == (context.title,):
            headings = headings[1:]
        for first in range(len(headings)):
            path = SEPARATOR.join(headings[first:])
            if self._counter.fits(path, context.path_tokens):
                return path
        return self._counter.beginning(headings[-1], context.path_tokens) if headings else ""

    def tokens(self, context: Context, path: str) -> int:
        """How many tokens it takes of a chunk."""
        before, after = context.around(path)
        if not before and not after:
            return 0
        return sum(self._counter.counts([before, after])) + 2  # what joins may cost
