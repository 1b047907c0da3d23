from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsql import QueryError, SearchTuning
from embedsql.search import Query
from embedsql.search.query import vector_text

VECTOR = (0.25, -1.0, 0.5)


@pytest.mark.parametrize("limit", [1, 10, 1000])
def test_a_limit_within_bounds_is_taken(limit: int) -> None:
    assert Query(text="a", mode="lexical", limit=limit).limit == limit


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**9, 2.5, "5", None])
def test_a_limit_out_of_bounds_is_refused(limit: Any) -> None:
    with pytest.raises(QueryError, match="1 to 1000"):
        Query(text="a", mode="lexical", limit=limit)


@pytest.mark.parametrize("text", ["", " ", "\t\n\u3000"])
def test_an_empty_query_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="empty"):
        Query(text=text, mode="lexical")


def test_a_query_of_2_000_000_characters_is_refused_without_repeating_it() -> None:
    assert Query(text="a" * 1_000_000, mode="lexical")  # type: ignore[truthy-bool]
    with pytest.raises(QueryError, match="2,000,000 characters") as caught:
        Query(text="a" * 2_000_000, mode="lexical")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("text", "read"), [("a\0b", "a b"), ("ab\ud83d", "ab\ufffd")])
def test_what_the_server_cannot_read_of_a_text_is_replaced(text: str, read: str) -> None:
    assert Query(text=text, mode="lexical").text == read


@given(text=st.text(min_size=1, max_size=50))
def test_any_text_is_taken_or_refused_and_nothing_else(text: str) -> None:
    if not text.replace("\0", " ").strip():
        with pytest.raises(QueryError, match="empty"):
            Query(text=text, mode="lexical")
        return
    read = Query(text=text, mode="lexical").text
    assert read is not None
    assert read.encode()
    assert "\0" not in read


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mode": "fuzzy", "text": "a"}, "no such mode: 'fuzzy'"),
        ({"mode": "lexical", "vector": VECTOR}, "lexical search needs the query's text"),
        ({"mode": "hybrid", "vector": VECTOR}, "hybrid search needs the query's text"),
        ({"mode": "hybrid", "text": "a"}, "hybrid search needs the query's vector"),
        ({"mode": "dense", "text": "a"}, "dense search needs the query's vector"),
    ],
)
def test_a_mode_says_what_it_lacks(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint):
        Query(**options)


@pytest.mark.parametrize(
    "vector",
    [VECTOR, list(VECTOR), np.array(VECTOR), np.array(VECTOR, dtype=np.float16)],
    ids=["tuple", "list", "float64", "float16"],
)
def test_a_vector_of_any_sequence_is_the_same_text(vector: Any) -> None:
    assert Query(vector=vector, mode="dense").vector_text == "[0.25,-1,0.5]"


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20).filter(any))
def test_the_text_of_a_vector_is_exact(values: list[float]) -> None:
    read = vector_text(values).strip("[]").split(",")

    assert np.array(read, dtype=np.float32).tolist() == values


@pytest.mark.parametrize(
    "vector",
    [[], 3.0, None, [[1.0, 2.0]], [[1.0], [2.0]]],
    ids=["empty", "a number", "none", "one row", "one column"],
)
def test_a_vector_of_another_shape_is_refused(vector: Any) -> None:
    with pytest.raises(QueryError, match=r"shape \(dimensions,\)"):
        vector_text(vector)


@pytest.mark.parametrize(
    "vector",
    [[float("nan"), 1.0], [float("inf"), 1.0], [0.0, 0.0], [1e-60, 0.0]],
    ids=["NaN", "infinite", "zero", "zero in float32"],
)
def test_a_vector_without_direction_is_refused(vector: list[float]) -> None:
    with pytest.raises(QueryError, match="NaN or infinite"):
        vector_text(vector)


@pytest.mark.parametrize(
    "vector",
    ["text", ["a"], [1.0, [2.0]], [1e300], {"a": 1.0}],
    ids=["text", "words", "ragged", "too large", "mapping"],
)
def test_what_is_no_vector_is_refused(vector: Any) -> None:
    with pytest.raises(QueryError):
        vector_text(vector)


def test_each_lane_hands_on_at_least_the_limit() -> None:
    assert Query(text="a", mode="lexical").candidates == 100
    assert Query(text="a", mode="lexical", limit=500).candidates == 500
    few = SearchTuning(candidates=20)
    assert Query(text="a", mode="lexical", limit=5, tuning=few).candidates == 20


@pytest.mark.parametrize(
    "options",
    [
        {"oversample": -1},
        {"rrf_k": -1},
        {"fusion": "sum"},
        {"saturation": 0},
        {"lexical_weight": -1.0},
        {"dense_weight": float("nan")},
    ],
)
def test_tuning_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        SearchTuning(**options)
