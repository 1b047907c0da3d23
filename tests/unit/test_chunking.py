from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from embedsql import Chunking, ConfigurationError
from embedsql.chunking import Chunk, Chunker
from embedsql.template import Template


def byte_tokenizer() -> Tokenizer:
    """Each byte is a token, so that every character counts, and some count four times."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return made


def word_tokenizer() -> Tokenizer:
    """Each word and each mark of punctuation is a token, as in the sentences below."""
    made = Tokenizer(models.WordLevel(vocab={"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def space_tokenizer() -> Tokenizer:
    """Each character is a token; a text alone has one more, as if a space stood before it."""
    alphabet = "▁" + "".join(map(chr, range(33, 127)))
    vocabulary = {letter: number for number, letter in enumerate(alphabet, 1)} | {"[UNK]": 0}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return made


BYTES, WORDS, SPACES = byte_tokenizer(), word_tokenizer(), space_tokenizer()

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=300) | st.lists(
    st.sampled_from(["word", "Sentence.", "\n\n", " ", "a" * 60, "漢字かな", "👩‍👩‍👧‍👦", "é", "…"]),
    max_size=80,
).map(" ".join)
solid_texts = texts.map(str.strip).filter(bool)
chunkings = st.integers(12, 60).flatmap(
    lambda tokens: st.builds(Chunking, tokens=st.just(tokens), overlap=st.integers(0, tokens // 2))
)
tokenizers = st.sampled_from([BYTES, WORDS, SPACES])


def count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def uncovered(text: str, chunks: list[Chunk]) -> str:
    """The characters of ``text`` that stand in no chunk."""
    seen = [False] * len(text)
    for chunk in chunks:
        seen[chunk.start : chunk.start + len(chunk.text)] = [True] * len(chunk.text)
    return "".join(letter for letter, covered in zip(text, seen, strict=True) if not covered)


@settings(deadline=None, max_examples=50)
@given(text=solid_texts, chunking=chunkings, tokenizer=tokenizers)
def test_no_chunk_exceeds_the_capacity(text: str, chunking: Chunking, tokenizer: Tokenizer) -> None:
    chunker = Chunker(chunking, tokenizer, None)
    chunks, truncated = chunker.split(text)

    assert all(count(tokenizer, chunk.content) <= chunker.capacity for chunk in chunks)
    assert not truncated


@settings(deadline=None, max_examples=50)
@given(title=solid_texts, body=solid_texts, chunking=chunkings, tokenizer=tokenizers)
def test_no_chunk_exceeds_the_capacity_with_its_heading(
    title: str, body: str, chunking: Chunking, tokenizer: Tokenizer
) -> None:
    chunker = Chunker(chunking, tokenizer, None)
    chunks, _ = chunker.split(f"{title}\n\n{body}", title)

    assert all(count(tokenizer, chunk.content) <= chunker.capacity for chunk in chunks)


@settings(deadline=None, max_examples=50)
@given(title=solid_texts, body=solid_texts, chunking=chunkings, tokenizer=tokenizers)
def test_every_visible_character_is_in_some_chunk(
    title: str, body: str, chunking: Chunking, tokenizer: Tokenizer
) -> None:
    text = f"{title}\n\n{body}"
    for heading in ("", title):
        chunks, _ = Chunker(chunking, tokenizer, None).split(text, heading)
        assert uncovered(text, chunks).strip() == ""


@settings(deadline=None, max_examples=50)
@given(title=solid_texts, body=solid_texts, chunking=chunkings, tokenizer=tokenizers)
def test_a_chunk_stands_in_the_text_where_its_offset_says(
    title: str, body: str, chunking: Chunking, tokenizer: Tokenizer
) -> None:
    text = f"{title}\n\n{body}"
    for heading in ("", title):
        chunks, _ = Chunker(chunking, tokenizer, None).split(text, heading)
        starts = [chunk.start for chunk in chunks]
        assert [text[chunk.start :][: len(chunk.text)] for chunk in chunks] == [
            chunk.text for chunk in chunks
        ]
        assert starts == sorted(starts)


@settings(deadline=None, max_examples=50)
@given(body=solid_texts, chunking=chunkings)
def test_a_heading_is_repeated_on_later_chunks_only(body: str, chunking: Chunking) -> None:
    chunks, _ = Chunker(chunking, WORDS, None).split(f"Title\n\n{body}", "Title")

    assert chunks[0].heading == ""
    assert chunks[0].text.startswith("Title")
    for chunk in chunks[1:]:
        assert chunk.heading == "Title"
        assert chunk.content == f"Title\n\n{chunk.text}"


def test_a_markdown_chunk_knows_the_headings_above_it() -> None:
    text = "\n\n".join(
        f"# Part {part}\n\n## Section {part}.{section}\n\n{'Plain words follow. ' * 40}"
        for part in range(3)
        for section in range(2)
    )
    chunks, _ = Chunker(Chunking(tokens=60, overlap=0), WORDS, None).split(text)

    for chunk in chunks:
        above = text[: chunk.start]
        part, section = above.rfind("# Part"), above.rfind("## Section")
        if chunk.text.startswith("#"):
            continue
        path = f"{text[part + 2 : part + 8]} > {text[section + 3 : section + 14]}"
        assert chunk.content == f"{path}\n\n{chunk.text}"
    assert sum(not chunk.text.startswith("#") for chunk in chunks) >= 3


def test_headings_without_a_text_stand_with_the_next_one_that_has() -> None:
    text = "# Guide\n\n## Install\n\n" + "Some plain words follow here. " * 30
    chunks, _ = Chunker(Chunking(tokens=40, overlap=0), WORDS, None).split(text)

    assert chunks[0].text.startswith("# Guide\n\n## Install\n\nSome plain words")
    assert {chunk.heading for chunk in chunks[1:]} == {"Guide > Install"}


def test_short_sections_share_a_chunk() -> None:
    text = "\n\n".join(f"## Part {number}\n\nA few words." for number in range(12))
    chunks, _ = Chunker(Chunking(tokens=40, overlap=0), WORDS, None).split(text)

    assert [chunk.text.count("## Part") for chunk in chunks] == [5, 5, 2]


def test_pieces_that_are_longer_alone_are_all_made_a_little_shorter() -> None:
    chunks, _ = Chunker(Chunking(tokens=61, overlap=0), SPACES, None).split("a b c d " * 200)
    sizes = [count(SPACES, chunk.text) for chunk in chunks]

    assert max(sizes) <= 61
    assert min(sizes[:-1]) > 40


def test_markdown_can_be_declared_and_denied() -> None:
    text = "# Title\n\n" + "Some plain words follow here. " * 30
    for markdown, expected in ((None, "Title"), (True, "Title"), (False, "")):
        chunking = Chunking(tokens=40, overlap=0, markdown=markdown)
        chunks, _ = Chunker(chunking, WORDS, None).split(text)
        assert {chunk.heading for chunk in chunks[1:]} == {expected}


def test_a_heading_that_is_the_title_is_not_said_twice() -> None:
    text = "Guide\n\n# Guide\n\n## Install\n\n" + "Some plain words follow here. " * 30
    chunks, _ = Chunker(Chunking(tokens=40, overlap=0), WORDS, None).split(text, "Guide")

    assert chunks[-1].content == f"Guide\n\nInstall\n\n{chunks[-1].text}"


def test_a_long_path_keeps_its_end() -> None:
    text = f"# {'far ' * 9}\n\n## near\n\n" + "Some plain words follow here. " * 30
    chunks, _ = Chunker(Chunking(tokens=30, overlap=0), WORDS, None).split(text)

    assert chunks[-1].heading == "near"


def test_a_template_stands_around_every_chunk() -> None:
    template = Template.parse("{title}: {chunk} ({author})", ("title", "author", "body"))
    chunker = Chunker(Chunking(tokens=40, overlap=0), WORDS, None, template)
    body = "Some plain words follow here. " * 30
    chunks, truncated = chunker.split(body, named={"title": "Guide", "author": "Ann"})

    assert len(chunks) > 4
    assert not truncated
    for chunk in chunks:
        assert chunk.content == f"Guide: {chunk.text} (Ann)"
        assert body[chunk.start :].startswith(chunk.text)
    short, _ = chunker.split("short", named={"title": "Guide", "author": "Ann"})
    assert [chunk.content for chunk in short] == ["Guide: short (Ann)"]


def test_a_template_says_where_the_headings_go() -> None:
    body = "# Install\n\n" + "Some plain words follow here. " * 30
    chunking = Chunking(tokens=40, overlap=0)
    for words, expected in (
        ("{title} ({heading}): {chunk}", "Guide (Install): "),
        ("{title}: {chunk}", "Guide: Install\n\n"),
    ):
        template = Template.parse(words, ("title", "body"))
        chunks, _ = Chunker(chunking, WORDS, None, template).split(body, named={"title": "Guide"})
        assert chunks[-1].content == expected + chunks[-1].text


def test_a_value_too_long_for_a_template_is_cut_between_tokens_and_counted() -> None:
    template = Template.parse("{title} by {author}: {chunk}", ("title", "author", "body"))
    chunker = Chunker(Chunking(tokens=30, overlap=0), WORDS, None, template)
    title = " ".join(f"w{number}" for number in range(50))
    chunks, truncated = chunker.split("words " * 100, named={"title": title, "author": "Ann"})

    assert truncated
    assert {chunk.before for chunk in chunks} == {"w0 w1 w2 w3 w4 w5 w6 by Ann: "}
    assert max(count(WORDS, chunk.content) for chunk in chunks) <= 30
    assert uncovered("words " * 100, chunks).strip() == ""


def test_without_chunking_a_template_stands_around_the_whole_text() -> None:
    template = Template.parse("{title}: {chunk}", ("title", "body"))
    chunks, truncated = Chunker(None, WORDS, 3, template).split("one two", named={"title": "T"})

    assert [chunk.content for chunk in chunks] == ["T: one two"]
    assert truncated  # the colon is a token too


def test_a_template_of_too_many_words_is_refused() -> None:
    template = Template.parse("one two three four five six {chunk}", ("body",))
    with pytest.raises(ConfigurationError, match="6 tokens, more than a third of a chunk of 16"):
        Chunker(Chunking(tokens=16, overlap=0), WORDS, None, template)


@settings(deadline=None, max_examples=50)
@given(
    title=texts,
    body=solid_texts,
    chunking=chunkings,
    tokenizer=tokenizers,
    words=st.sampled_from(["{title}{chunk}", "{title}: {chunk}", "{chunk} {title}"]),
)
def test_no_chunk_exceeds_the_capacity_with_its_template(
    title: str, body: str, chunking: Chunking, tokenizer: Tokenizer, words: str
) -> None:
    template = Template.parse(words, ("title", "body"))
    chunker = Chunker(chunking, tokenizer, None, template)
    chunks, truncated = chunker.split(body, named={"title": title})

    assert all(count(tokenizer, chunk.content) <= chunker.capacity for chunk in chunks)
    assert uncovered(body, chunks).strip() == ""
    assert truncated or all(title.strip() in chunk.content for chunk in chunks)


def test_a_heading_longer_than_a_third_of_a_chunk_is_not_repeated() -> None:
    title = "a title of eight words, which is long"
    chunks, _ = Chunker(Chunking(tokens=20, overlap=0), WORDS, None).split(
        f"{title}\n\n{'word ' * 60}", title
    )

    assert len(chunks) > 2
    assert {chunk.heading for chunk in chunks} == {""}


def test_a_title_survives_a_body_of_invisible_characters() -> None:
    text = "Title\n\n" + "\N{NO-BREAK SPACE}" * 600
    chunks, _ = Chunker(Chunking(tokens=40, overlap=0), BYTES, None).split(text, "Title")

    assert uncovered(text, chunks).strip() == ""


def test_a_text_that_fits_is_one_chunk() -> None:
    text = "First sentence. Second sentence."

    assert Chunker(Chunking(tokens=8, overlap=2), WORDS, None).split(text, "First") == (
        [Chunk(0, text)],
        False,
    )


def test_pieces_are_of_about_equal_length() -> None:
    text = " ".join(f"This is sentence {number}." for number in range(60))
    chunks, _ = Chunker(Chunking(tokens=100, overlap=0), WORDS, None).split(text)
    sizes = [count(WORDS, chunk.text) for chunk in chunks]

    assert len(sizes) > 2
    assert min(sizes) * 3 >= max(sizes)


def test_neighbours_share_the_overlap() -> None:
    text = " ".join(f"word{number}" for number in range(200))
    chunks, _ = Chunker(Chunking(tokens=40, overlap=10), WORDS, None).split(text)

    for left, right in itertools.pairwise(chunks):
        shared = left.start + len(left.text) - right.start
        assert 0 < count(WORDS, text[right.start :][: max(shared, 0)]) <= 10


def test_an_overlong_word_is_cut_by_characters() -> None:
    text = "x" * 1000
    chunks, _ = Chunker(Chunking(tokens=50, overlap=0), BYTES, None).split(text)

    assert len(chunks) >= 20
    assert "".join(chunk.text for chunk in chunks) == text


def test_a_word_that_the_tokenizer_does_not_know_is_one_token_however_long() -> None:
    blob = "x" * 10_000
    text = f"before {blob} after"
    chunks, _ = Chunker(Chunking(tokens=8, overlap=0), WORDS, None).split(text)

    assert uncovered(text, chunks).strip() == ""


def test_the_model_bounds_the_capacity() -> None:
    assert Chunker(Chunking(tokens=500, overlap=0), WORDS, 254).capacity == 254
    assert Chunker(Chunking(), WORDS, 128).capacity == 128
    assert Chunker(Chunking(), WORDS, None).capacity == 192


def test_no_chunking_keeps_the_row_whole_and_says_truncated() -> None:
    text = "one two three four"

    assert Chunker(None, WORDS, 4).split(text) == ([Chunk(0, text)], False)
    assert Chunker(None, WORDS, 3).split(text) == ([Chunk(0, text)], True)
    assert Chunker(None, WORDS, None).split(text) == ([Chunk(0, text)], False)


def test_without_a_tokenizer_tokens_are_counted_by_the_splitters_own() -> None:
    text = " ".join(f"This is sentence {number}." for number in range(200))
    chunks, truncated = Chunker(Chunking(tokens=50, overlap=0), None, None).split(text)

    assert len(chunks) >= 20
    assert uncovered(text, chunks).strip() == ""
    assert not truncated


def test_without_a_tokenizer_chinese_is_cut_too() -> None:
    chunks, _ = Chunker(Chunking(tokens=100, overlap=0), None, None).split("漢字仮名" * 99)

    assert len(chunks) > 1
