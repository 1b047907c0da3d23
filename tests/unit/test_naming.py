from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from embedsql.ddl import EVENTS
from embedsql.naming import MAX_BYTES, ObjectNames, bounded, key_columns

# one, two, three and four bytes a character, and enough of them to reach the limit
letters = st.sampled_from("ab_1üß漢🎉") | st.characters(
    exclude_categories=["Cs"], exclude_characters="\0"
)
indexes = st.text(letters, min_size=1, max_size=63).filter(lambda name: len(name.encode()) <= 63)
# names that differ in their last characters only: what cutting would make one
tails = st.text(letters, min_size=1, max_size=4)
generations = st.integers(1, 10_000)


def objects(names: ObjectNames) -> list[str]:
    """All names of one index in the kit's schema; trigger names are per table."""
    return [
        names.log,
        names.batch,
        names.row,
        names.chunk,
        names.chunk_view,
        names.serving_view,
        names.vector_index,
        names.lexeme_index,
        names.content_index,
        *(names.trigger_function(event) for event in EVENTS),
    ]


def test_short_names_are_left_as_they_are() -> None:
    names = ObjectNames("article_search")

    assert names.log == "article_search_log"
    assert names.chunk == "article_search_chunk_1"
    assert names.serving_view == "article_search_chunk"
    assert names.trigger("insert") == "embedsql_article_search_insert"
    assert names.trigger_function("insert") == "article_search_on_insert"


def test_a_name_of_exactly_63_bytes_is_not_cut() -> None:
    stem = "s" * (MAX_BYTES - len("_log"))

    assert bounded(stem, "log") == f"{stem}_log"
    assert bounded(f"{stem}s", "log") != f"{stem}s_log"


def test_a_cut_name_keeps_its_suffix_and_its_beginning() -> None:
    name = bounded("article" * 9, "chunk_1_lexemes")

    assert name.startswith("articlearticle")
    assert name.endswith("_chunk_1_lexemes")
    assert len(name) == MAX_BYTES


@given(index=indexes, generation=generations)
def test_every_name_fits_and_is_whole_characters(index: str, generation: int) -> None:
    names = ObjectNames(index, generation)
    for name in [*objects(names), *(names.trigger(event) for event in EVENTS)]:
        assert len(name.encode()) <= MAX_BYTES
        assert "\N{REPLACEMENT CHARACTER}" not in name or "\N{REPLACEMENT CHARACTER}" in index


@given(index=indexes, generation=generations)
def test_the_objects_of_one_index_have_different_names(index: str, generation: int) -> None:
    names = objects(ObjectNames(index, generation))

    assert len(set(names)) == len(names)


@given(index=indexes, one=generations, other=generations)
def test_two_generations_share_nothing_but_the_view_that_serves(
    index: str, one: int, other: int
) -> None:
    assume(one != other)
    first, second = ObjectNames(index, one), ObjectNames(index, other)

    assert set(objects(first)) & set(objects(second)) == {first.serving_view}
    assert first.serving_view == second.serving_view
    assert not {first.trigger(event) for event in EVENTS} & {
        second.trigger(event) for event in EVENTS
    }
    assert first.inserted_setting != second.inserted_setting


@given(stem=indexes, one=tails, other=tails)
def test_two_indexes_share_no_name(stem: str, one: str, other: str) -> None:
    first, second = f"{stem}{one}", f"{stem}{other}"
    assume(first != second)
    left, right = ObjectNames(first), ObjectNames(second)

    assert not set(objects(left)) & set(objects(right))
    assert not {left.trigger(event) for event in EVENTS} & {
        right.trigger(event) for event in EVENTS
    }


def test_key_columns_count_from_one() -> None:
    assert key_columns(3) == ["key_1", "key_2", "key_3"]


def test_triggers_of_indexes_whose_names_hold_an_event_share_nothing() -> None:
    longer, shorter = ObjectNames("x_bulk"), ObjectNames("x")
    assert not {longer.trigger(event) for event in EVENTS} & {
        shorter.trigger(event) for event in EVENTS
    }
