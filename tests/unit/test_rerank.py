from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsql import ConfigurationError, Hit, QueryError, RerankError
from embedsql.rerank import Reranker, endpoint, rerank
from tests.rerankers import RerankServer, serving_reranks

LENGTHS = [3, 1, 4, 1, 5, 9, 2, 6]


def hit(score: float, snippet: str, passage: str | None = None) -> Hit:
    return Hit(score, 1, 0.5, None, None, None, 0, snippet, "exact", passage=passage)


def rows(count: int = len(LENGTHS)) -> list[tuple[str, Hit]]:
    """Rows a, b, c, ...; their passages are as long as ``LENGTHS`` says."""
    return [
        (chr(97 + n), hit(10.0 - n, "snippet", "x" * LENGTHS[n % len(LENGTHS)]))
        for n in range(count)
    ]


def by_length(query: str, passages: Sequence[str]) -> Sequence[float]:
    return [float(len(passage)) for passage in passages]


def names(found: Sequence[Any]) -> str:
    return "".join(row[0] for row in found)


@pytest.fixture
def server() -> Iterator[RerankServer]:
    with serving_reranks() as running:
        yield running


def test_the_reranker_orders_rows_by_their_whole_passages() -> None:
    found = rerank("query", rows(), by_length)

    assert names(found) == "fheca" + "gbd"  # b and d tie and stay as they stood
    assert (found.reranked, found.scored, found.why_not) == (True, 8, None)
    assert [row[-1].score for row in found] == [9, 6, 5, 4, 3, 2, 1, 1]
    assert [row[-1].rerank_score for row in found] == [9, 6, 5, 4, 3, 2, 1, 1]


def test_without_a_passage_the_snippet_is_read() -> None:
    found = rerank("query", [("a", hit(2, "short")), ("b", hit(1, "much longer"))], by_length)

    assert names(found) == "ba"


def test_the_reranker_is_asked_what_is_meant_without_signs_and_excluded_words() -> None:
    asked = []

    def remembering(query: str, passages: Sequence[str]) -> Sequence[float]:
        asked.append(query)
        return by_length(query, passages)

    rerank('+amber "birch cedar" -flint', rows(), remembering)

    assert [query.split() for query in asked] == [["amber", "birch", "cedar"]]


def test_rows_behind_the_top_keep_their_order_below_it() -> None:
    found = rerank("query", rows(), by_length, top=3)

    assert names(found) == "cabdefgh"
    scores = [row[-1].score for row in found]
    assert scores == sorted(scores, reverse=True)
    assert [row[-1].rerank_score for row in found] == [4, 3, 1, *[None] * 5]


@pytest.mark.parametrize(
    ("blend", "order"), [(0.0, "abcdefgh"), (1.0, "fhecagbd"), (0.5, "facebhdg")]
)
def test_blended_scores_are_between_those_of_search_and_reranker(blend: float, order: str) -> None:
    found = rerank("query", rows(), by_length, blend=blend)

    assert names(found) == order
    assert all(0 <= row[-1].score <= 1 for row in found)


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=30),
    st.integers(1, 40),
    st.none() | st.floats(0, 1),
)
def test_no_row_is_lost_and_scores_never_rise_from_one_to_the_next(
    scores: list[float], top: int, blend: float | None
) -> None:
    found = rerank(
        "query",
        rows(len(scores)),
        lambda _, passages: [scores[n] for n in range(len(passages))],
        top=top,
        blend=blend,
    )

    assert sorted(names(found)) == sorted(names(rows(len(scores))))
    order = [row[-1].score for row in found]
    assert all(first >= second - 1e-9 for first, second in itertools.pairwise(order))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([1.0, 2.0], "shape"),
        ([math.nan] * 8, "NaN"),
        ([math.inf] * 8, "infinite"),
        (["good"] * 8, "something other"),
        (None, "shape"),
        ([[1.0]] * 8, "shape"),
    ],
)
def test_a_reranker_that_answers_nonsense_leaves_the_order_and_says_so(
    answer: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = rerank("query", rows(), lambda query, passages: answer)

    assert list(found) == rows()
    assert (found.reranked, found.scored) == (False, 0)
    assert found.why_not is not None
    assert said in found.why_not
    assert said in caplog.text


def test_a_reranker_that_raises_leaves_the_order_and_its_words() -> None:
    def broken(query: str, passages: Sequence[str]) -> Sequence[float]:
        raise RuntimeError("out of memory")

    for budget in (None, 30.0):
        found = rerank("query", rows(), broken, budget=budget)
        assert list(found) == rows()
        assert found.why_not == "the reranker failed: out of memory"


def test_a_reranker_that_fails_in_a_later_slice_leaves_the_whole_order() -> None:
    calls = []

    def failing(query: str, passages: Sequence[str]) -> Sequence[float]:
        calls.append(len(passages))
        if len(calls) > 1:
            raise RuntimeError("the second time")
        return by_length(query, passages)

    found = rerank("query", rows(100), failing, budget=60)

    assert len(calls) == 2
    assert list(found) == rows(100)
    assert not found.reranked


def test_a_reranker_that_never_answers_is_left_alone_when_the_budget_is_used() -> None:
    release = threading.Event()

    def hanging(query: str, passages: Sequence[str]) -> Sequence[float]:
        release.wait(60)
        return by_length(query, passages)

    found = rerank("query", rows(), hanging, budget=0.05)
    release.set()

    assert list(found) == rows()
    assert not found.reranked
    assert found.why_not == "the budget of 0.05 s was used after 0 of 8 rows"


def test_a_budget_that_ends_midway_leaves_the_rest_below_in_the_order_of_the_search(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = threading.Event()
    slices: list[int] = []

    def slowing(query: str, passages: Sequence[str]) -> Sequence[float]:
        slices.append(len(passages))
        if len(slices) > 1:
            release.wait(60)
        return by_length(query, passages)

    with caplog.at_level(logging.WARNING):
        found = rerank("query", rows(40), slowing, budget=1.0)
    release.set()

    assert slices[0] == found.scored == 8
    assert found.reranked
    assert found.why_not == "the budget of 1 s was used after 8 of 40 rows"
    assert found.why_not in caplog.text
    assert names(found[:8]) == "fhecagbd"
    assert names(found[8:]) == names(rows(40)[8:])
    scores = [row[-1].score for row in found]
    assert scores == sorted(scores, reverse=True)


def test_a_budget_that_suffices_reads_every_row() -> None:
    found = rerank("query", rows(200), by_length, budget=60)

    assert (found.reranked, found.scored, found.why_not) == (True, 200, None)


@pytest.mark.parametrize("wrong", [{"top": 0}, {"budget": 0.0}, {"blend": 1.5}])
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        rerank("query", rows(), by_length, **wrong)


def test_nothing_found_is_nothing_to_rerank() -> None:
    found = rerank("query", [], by_length)

    assert (list(found), found.scored) == ([], 0)


def test_an_endpoint_is_asked_as_jina_and_cohere_are(server: RerankServer) -> None:
    judge = endpoint(server.url + "/v1/", "small", api_key="secret")

    assert judge("query", ["aaa", "b"]) == [3.0, 1.0]

    assert server.paths == ["/v1/rerank"]
    assert server.authorizations == ["Bearer secret"]
    assert server.payloads == [
        {"model": "small", "query": "query", "documents": ["aaa", "b"], "top_n": 2}
    ]


def test_an_endpoint_of_one_model_is_asked_for_texts(server: RerankServer) -> None:
    server.answer = lambda asked: [
        {"index": place, "score": len(asked["texts"][place])}
        for place in reversed(range(len(asked["texts"])))
    ]

    assert endpoint(server.url)("query", ["aaa", "b"]) == [3.0, 1.0]
    assert server.authorizations == [None]


def test_a_moments_trouble_of_an_endpoint_is_tried_again(server: RerankServer) -> None:
    usual = server.answer
    server.answer = lambda asked: (503, b"busy") if len(server.paths) < 3 else usual(asked)

    assert endpoint(server.url, "small")("query", ["aaa"]) == [3.0]
    assert len(server.paths) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, b"out of order"), "answered 500: out of order"),
        ((401, b"key secret is wrong"), "answered 401: key … is wrong"),
        ((200, b"no json"), "no scores by index"),
        ((200, {"results": []}), "0 scores for 2"),
        ((200, {"results": [{"index": 0, "relevance_score": 1}] * 2}), "2 scores for 2"),
        (
            (200, b'{"results": [{"index": 0, "relevance_score": NaN}, {"index": 1, "score": 1}]}'),
            "NaN",
        ),
        ((200, {"error": "other"}), "no scores by index"),
        ((200, b"null"), "no scores by index"),
    ],
)
def test_an_endpoint_that_misbehaves_leaves_the_order_of_the_search(
    server: RerankServer, answer: Any, said: str
) -> None:
    server.answer = lambda asked: answer

    found = rerank("query", rows(2), endpoint(server.url, "small", api_key="secret"))

    assert list(found) == rows(2)
    assert not found.reranked
    assert found.why_not is not None
    assert said in found.why_not


def test_an_endpoint_that_is_too_slow_gives_up_in_time(server: RerankServer) -> None:
    server.delay = 30

    with pytest.raises(RerankError, match=r"within 0\.1 s"):
        endpoint(server.url, "small", timeout=0.1)("query", ["a"])
    found = rerank("query", rows(), endpoint(server.url, "small"), budget=0.1)

    assert list(found) == rows()
    assert found.why_not == "the budget of 0.1 s was used after 0 of 8 rows"


def test_nobody_listening_is_said_without_the_password() -> None:
    judge: Reranker = endpoint("http://user:hidden@127.0.0.1:9", "small", timeout=2)

    found = rerank("query", rows(), judge)

    assert found.why_not is not None
    assert "cannot be asked" in found.why_not
    assert "hidden" not in found.why_not + repr(judge)


@pytest.mark.parametrize("url", ["ftp://host", "host:80", "", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        endpoint(url, "small")
