from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsql.chunking.markdown import Outline, headings


def outline_of(text: str) -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in headings(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Title", [(1, "Title")]),
        ("###### Deep\n", [(6, "Deep")]),
        ("text\n## Closed ##\ntext", [(2, "Closed")]),
        ("   # Indented\r\ntext\r\n", [(1, "Indented")]),
        ("# In C#\n", [(1, "In C#")]),
        ("# A\n## B\n", [(1, "A"), (2, "B")]),
        ("Title\n=====\ntext\n\nSection\n---\n", [(1, "Title"), (2, "Section")]),
        ("Title\r\n=====\r\ntext", [(1, "Title")]),
        ("---\ntitle: x\n---\n# Real\n", [(1, "Real")]),
    ],
)
def test_headings_are_found(text: str, expected: list[tuple[int, str]]) -> None:
    assert outline_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "#hashtag is no heading",
        "####### seven",
        "    # indented code",
        "a # in the middle",
        "#\n",
        "```sh\n# a comment\n```\n",
        "~~~\n# a comment\n\nTitle\n=====\n~~~\n",
        "````\n```\n# still code\n````\n",
        "```\n# never closed\n",
        "- item\n---\n",
        "| a | b |\n|---|---|\n",
        "a paragraph\n\n---\n\nanother\n",
        "signed\n-- \nme\n",
        "> quoted\n---\n",
    ],
)
def test_what_is_no_heading_is_left(text: str) -> None:
    assert outline_of(text) == []


def test_a_fence_ends_where_it_is_closed() -> None:
    assert outline_of("```\n# no\n```\n# yes\n``` not a fence ```\n# too\n") == [
        (1, "yes"),
        (1, "too"),
    ]


TEXT = "intro\n# Install\nfirst\n## From source\nsecond\n### Tools\nthird\n## Packages\nfourth\n"


@pytest.mark.parametrize(
    ("at", "path"),
    [
        ("intro", ()),
        ("# Install", ()),
        ("first", ("Install",)),
        ("## From", ("Install",)),
        ("second", ("Install", "From source")),
        ("third", ("Install", "From source", "Tools")),
        ("## Packages", ("Install",)),
        ("fourth", ("Install", "Packages")),
    ],
)
def test_the_path_of_an_offset_is_the_headings_above_it(at: str, path: tuple[str, ...]) -> None:
    assert Outline(TEXT).path(TEXT.index(at)) == path


def test_levels_that_are_skipped_leave_no_hole() -> None:
    text = "# A\n### C\nx\n## B\ny"

    assert Outline(text).path(text.index("x")) == ("A", "C")
    assert Outline(text).path(text.index("y")) == ("A", "B")


lines = st.sampled_from(
    ["# A", "## B ##", "text", "", "```", "~~~~", "===", "---", "    # code", "#"]
)


@given(chosen=st.lists(lines), end=st.sampled_from(["\n", "\r\n"]))
def test_offsets_and_levels_are_true_whatever_the_lines(chosen: list[str], end: str) -> None:
    text = end.join(chosen)
    for heading in headings(text):
        assert text.startswith((heading.title, "#" * heading.level), heading.start)
    outline = Outline(text)
    for offset in range(len(text)):
        assert len(outline.path(offset)) <= 6


@given(text=st.text(st.sampled_from("#`~=-> \t\r\nab:")))
def test_any_text_has_headings_without_line_ends(text: str) -> None:
    assert all(heading.title and "\n" not in heading.title for heading in headings(text))
