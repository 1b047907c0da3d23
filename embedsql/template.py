"""A template over the text columns: ``{title} ({heading}): {chunk}``.

Only names stand in braces: no attributes, indices, conversions or format specifications, so a
template can reach nothing but the columns that its index declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from embedsql.errors import DeclarationError

CHUNK = "chunk"
HEADING = "heading"


@dataclass(frozen=True)
class Template:
    """What is embedded of each chunk.

    Attributes:
        parts: Pairs of literal text and the placeholder that follows it, '' for none.
        columns: The text columns that it names, once each, in the declaration's order.
        takes_heading: Whether it says where the path of Markdown headings goes.
    """

    parts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    takes_heading: bool

    @classmethod
    def parse(cls, template: str, text: Sequence[str]) -> Template:
        """Read a template for an index on the columns ``text``.

        A column called ``heading`` hides the placeholder for Markdown headings; ``{chunk}`` is
        always the piece.

        Raises:
            DeclarationError: With what is wrong and what may stand there.
        """
        parts = _parse(template)
        names = [name for _, name in parts if name]
        columns = tuple(name for name in text if name != CHUNK)
        known = {*columns, CHUNK, HEADING}
        for name in names:
            if name not in known:
                raise DeclarationError(
                    f"the template {template!r} names {{{name}}}, which is no text column of the "
                    f"index; it may name: {', '.join(sorted(known))}"
                )
        twice = sorted(name for name in names if name != CHUNK and names.count(name) > 1)
        if twice:
            raise DeclarationError(f"the template {template!r} names {{{twice[0]}}} twice")
        if names.count(CHUNK) != 1:
            raise DeclarationError(
                f"the template {template!r} must say {{chunk}} once: the piece of the text goes "
                "there"
            )
        if set(text) <= set(names) - {CHUNK}:
            raise DeclarationError(
                f"the template {template!r} names every text column, so nothing is left to cut "
                "into chunks: leave the longest one out, {chunk} is a piece of it"
            )
        named = tuple(name for name in columns if name in names)
        return cls(parts, named, HEADING in names and HEADING not in columns)

    @property
    def words(self) -> str:
        """The literal text in it."""
        return "".join(literal for literal, _ in self.parts)

    def around(self, values: Mapping[str, str]) -> tuple[str, str]:
        """What stands before and after a chunk, given the other placeholders' values."""
        sides: list[list[str]] = [[]]
        for literal, name in self.parts:
            sides[-1].append(literal)
            if name == CHUNK:
                sides.append([])
            elif name:
                sides[-1].append(values.get(name, ""))
        before, after = ("".join(side) for side in sides)
        return before.lstrip(), after.rstrip()


def _parse(template: str) -> tuple[tuple[str, str], ...]:
    if "\0" in template:
        raise DeclarationError("a template cannot hold NUL characters")
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise DeclarationError(
            f"the template {template!r} cannot be read ({error}); write a literal brace twice: "
            "{{ or }}"
        ) from error
    for _, name, specification, conversion in parsed:
        if name == "" or specification or conversion:
            raise DeclarationError(
                f"the template {template!r} may have only a name between braces, as in "
                "{title}; write a literal brace twice"
            )
    return tuple((literal, name or "") for literal, name, _, _ in parsed)
