"""The headings of a Markdown text, and for any offset the path of those above it.

Found by their lines alone, in one pass: a parser of all of Markdown takes seconds on texts made to
hurt it, and knows nothing more of headings.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SEPARATOR = " > "

_EOL = r"[ \t]*\r?$"
_FRONT_MATTER = re.compile(rf"\A---{_EOL}\n\w+:(?s:.*?)^---{_EOL}", re.MULTILINE)
_MARK = re.compile(
    r"^ {0,3}(?:"
    r"(?P<fence>`{3,}+(?!.*`)|~{3,}+)"
    r"|(?P<level>\#{1,6})(?P<atx>[ \t][^\r\n]*)?\r?$"
    rf"|(?P<setext>[^\s\#>+*=`~|-][^\r\n]*)\r?\n {{0,3}}(?P<rule>={{3,}}|-{{3,}}){_EOL}"
    r")",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Heading:
    """One heading.

    Attributes:
        start: Offset of its first character.
        end: Offset of the character after its last line.
        level: 1 to 6.
        title: Its words.
    """

    start: int
    end: int
    level: int
    title: str


def headings(text: str) -> list[Heading]:
    """The headings of ``text`` with their words, in order; none in fenced code or front matter.

    ATX (``## Title``) and setext (a line underlined by three or more ``=`` or ``-``).
    """
    return [heading for heading in _scan(text) if heading.title]


def _scan(text: str) -> Iterator[Heading]:
    matter = _FRONT_MATTER.match(text)
    at = matter.end() if matter else 0
    while found := _MARK.search(text, at):
        at = found.end()
        if found["fence"]:
            at = _end_of_fence(text, at, found["fence"])
        elif found["level"]:
            title = _without_closing(found["atx"] or "")
            yield Heading(found.start("level"), at, len(found["level"]), title)
        else:
            level = 1 if found["rule"].startswith("=") else 2
            yield Heading(found.start("setext"), at, level, found["setext"].strip())


def _without_closing(title: str) -> str:
    """``Title`` of ``Title ##``; ``C#`` stays."""
    title = title.strip()
    bare = title.rstrip("#")
    return bare.rstrip() if bare != title and bare[-1:] in ("", " ", "\t") else title


def _end_of_fence(text: str, at: int, fence: str) -> int:
    closing = re.compile(rf"^ {{0,3}}{fence[0]}{{{len(fence)},}}{_EOL}", re.MULTILINE)
    found = closing.search(text, at)
    return found.end() if found else len(text)


@dataclass(frozen=True)
class Section:
    """A stretch of text: headings, or none, and what follows them.

    Attributes:
        start: Offset of its first character.
        body: Offset of what follows its headings.
        end: Offset of the character after its last.
    """

    start: int
    body: int
    end: int


class Outline:
    """The headings of one text, by offset.

    Args:
        text: The text.
        markdown: Whether to look for headings at all.
    """

    def __init__(self, text: str, *, markdown: bool = True) -> None:
        found = headings(text) if markdown else []
        self._starts = [heading.start for heading in found]
        self._above: list[tuple[str, ...]] = []  # of each heading: its ancestors
        self._paths: list[tuple[str, ...]] = []  # and with itself
        stack: list[Heading] = []
        for heading in found:
            while stack and stack[-1].level >= heading.level:
                stack.pop()
            self._above.append(tuple(one.title for one in stack))
            stack.append(heading)
            self._paths.append(tuple(one.title for one in stack))
        bounds = [*self._starts, len(text)]
        self.sections = [Section(0, 0, bounds[0])] if text[: bounds[0]].strip() else []
        self.sections += [
            Section(heading.start, heading.end, end)
            for heading, end in zip(found, bounds[1:], strict=True)
        ]

    def __bool__(self) -> bool:
        return bool(self._starts)

    def path(self, offset: int) -> Sequence[str]:
        """The headings above ``offset``; one that begins there is no part of its own path."""
        number = bisect_right(self._starts, offset) - 1
        if number < 0:
            return ()
        at_heading = self._starts[number] == offset
        return self._above[number] if at_heading else self._paths[number]
