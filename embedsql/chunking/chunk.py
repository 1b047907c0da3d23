"""What a text is cut into."""

from __future__ import annotations

from typing import NamedTuple


class Chunk(NamedTuple):
    """One piece of a row's text.

    Attributes:
        start: Offset of its first character in the row's text.
        text: The piece, as it stands there.
        before: Put before it for the model: title, headings, a template's words.
        after: Likewise, after it.
        titled: How many characters of the piece, from its first, are the row's title.
    """

    start: int
    text: str
    before: str = ""
    after: str = ""
    titled: int = 0

    @property
    def content(self) -> str:
        """What is embedded."""
        _, text, before, after, _ = self
        return f"{before}{text}{after}" if before or after else text

    @property
    def heading(self) -> str:
        """What is put around the piece, for the lexemes."""
        _, _, before, after, _ = self
        return f"{before} {after}".strip() if before or after else ""

    @property
    def end(self) -> int:
        """Offset of the character after its last."""
        return self.start + len(self.text)
