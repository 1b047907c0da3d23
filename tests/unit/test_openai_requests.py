"""How many requests a call becomes, at a time and in all, and what a failed one costs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import stamina

from embedsql import BadVectorsError, EmbeddingError, ProviderError, TextRejectedError
from embedsql.embedders.base import Embedder
from embedsql.embedders.openai.request_size import FIRST_CHARACTERS, REQUEST_BYTES, RequestSize
from tests.unit.embedding_server import Answer, Provider, items, vector_of

TEXTS = [f"text {n}" for n in range(1, 301)]


@pytest.fixture(autouse=True)
def no_pauses() -> object:
    with stamina.set_testing(True, attempts=4):
        yield


def bisect(embedder: Embedder, texts: list[str]) -> dict[str, EmbeddingError]:
    """The texts at fault, found as a worker finds them."""
    try:
        embedder.embed_documents(texts)
    except ProviderError:
        raise
    except EmbeddingError as error:
        if len(texts) == 1:
            return {texts[0]: error}
        middle = len(texts) // 2
        return bisect(embedder, texts[:middle]) | bisect(embedder, texts[middle:])
    return {}


def answered(provider: Provider) -> Counter[str]:
    """How often each text was sent, the probe left out."""
    sent = Counter(text for texts in provider.inputs() for text in texts)
    del sent["dimensions"]
    return sent


def refuse_if(provider: Provider, refused: Callable[[list[str]], bool], answer: Answer) -> None:
    provider.answer = lambda texts: answer if refused(texts) else items(map(vector_of, texts))


def test_a_call_is_spread_over_several_requests_at_a_time(provider: Provider) -> None:
    embedder = provider.embedder(concurrency=4)
    meeting = threading.Barrier(4, timeout=60)  # each waits until four are being served

    def answer(texts: list[str]) -> Answer:
        meeting.wait()
        return items(map(vector_of, texts))

    provider.answer = answer
    vectors = embedder.embed_documents(TEXTS)

    np.testing.assert_allclose(
        vectors[:, 2] / vectors[:, 0], [len(t) / 3 for t in TEXTS], rtol=1e-6
    )
    assert sorted(len(texts) for texts in provider.inputs()) == [75, 75, 75, 75]


@pytest.mark.parametrize(("count", "requests"), [(1, 1), (16, 1), (17, 2), (64, 4), (5000, 40)])
def test_small_calls_are_not_torn_and_large_ones_are_cut(count: int, requests: int) -> None:
    texts = [str(number) for number in range(count)]

    found = list(RequestSize(128).requests(texts, 4))

    assert [text for request in found for text in request] == texts
    assert len(found) == requests
    assert max(map(len, found)) - min(map(len, found)) <= len(found)


@pytest.mark.parametrize("letter", ["a", "é", "漢", "🙂"])
def test_no_request_can_hold_more_tokens_than_a_provider_takes(letter: str) -> None:
    texts = [letter * length for length in range(10_000, 0, -37)]

    found = list(RequestSize(2048).requests(texts, 4))

    assert [text for request in found for text in request] == texts
    assert max(len("".join(request).encode()) for request in found) <= REQUEST_BYTES


def test_a_text_larger_than_a_request_goes_alone() -> None:
    huge = "a" * (REQUEST_BYTES + 1)

    assert list(RequestSize(128).requests(["a", huge, "b"], 1)) == [["a"], [huge], ["b"]]


def test_a_call_of_the_size_it_asks_for_fills_all_its_requests(provider: Provider) -> None:
    embedder = provider.embedder(concurrency=3)
    texts = [f"{number:04}" * 250 for number in range(embedder.call_characters // 1000)]

    embedder.embed_documents(texts)

    assert [len(texts) for texts in provider.inputs()] == [50, 50, 50]


def test_a_quick_server_is_brought_more(provider: Provider) -> None:
    embedder = provider.embedder(concurrency=2)

    for call in range(8):
        embedder.embed_documents([f"{call} {number}" for number in range(4096)])

    assert max(len(texts) for texts in provider.inputs()[:10]) <= 128
    assert max(len(texts) for texts in provider.inputs()) == 2048
    assert embedder.call_characters == 2 * FIRST_CHARACTERS  # these texts say nothing of long ones


def full(size: RequestSize, seconds: float, times: int = 1) -> None:
    """Answers to requests that are as large as may be."""
    for _ in range(times):
        size.answered(size.most_texts, size.characters, seconds)


def test_long_texts_are_brought_together_up_to_what_is_never_too_many_tokens() -> None:
    size = RequestSize()

    full(size, 0.1, times=10)

    assert (size.most_texts, size.characters) == (2048, REQUEST_BYTES)


def test_a_limit_on_what_comes_in_a_minute_is_not_run_into_for_ever(provider: Provider) -> None:
    embedder = provider.embedder(concurrency=1)
    texts = [f"{number:04}" * 100 for number in range(400)]
    for call in range(4):
        embedder.embed_documents([f"{call} {text}" for text in texts])
    assert embedder.call_characters > 100_000
    too_many = Answer({"error": "tokens per minute"}, 429, {"Retry-After": "0"})
    refuse_if(provider, lambda texts: len("".join(texts)) > 100_000, too_many)

    for _ in range(2):
        with pytest.raises(ProviderError):
            embedder.embed_documents(texts)

    assert embedder.call_characters <= 100_000
    embedder.embed_documents(texts[: embedder.call_characters // 400])


def test_a_slow_server_is_not_brought_more() -> None:
    size = RequestSize()

    full(size, 3.0, times=10)

    assert size == RequestSize()


def test_a_small_request_says_nothing_of_a_large_one() -> None:
    size = RequestSize()

    size.answered(20, 1000, seconds=0.01)

    assert size == RequestSize()


def test_a_server_that_turns_slow_is_brought_less() -> None:
    size = RequestSize()
    full(size, 0.1, times=10)

    full(size, 20.0, times=3)
    assert (size.most_texts, size.characters) == (256, FIRST_CHARACTERS)

    full(size, 20.0)
    assert size == RequestSize()


def test_what_has_grown_too_far_is_taken_back_and_tried_with_caution() -> None:
    size = RequestSize()
    full(size, 0.1, times=2)
    assert size.most_texts == 512

    size.failed(512)
    full(size, 0.1, times=7)
    assert size.most_texts == 256

    full(size, 0.1)
    assert size.most_texts == 512


def test_what_is_refused_once_it_has_grown_is_never_brought_again() -> None:
    size = RequestSize()
    full(size, 0.1, times=2)

    size.refused(512)
    full(size, 0.1, times=1000)

    assert (size.most_texts, size.ceiling) == (256, 2048)


def test_after_a_failure_a_slow_server_is_brought_one_more_with_each_answer() -> None:
    size = RequestSize()

    size.failed(128)
    full(size, 3.0, times=3)

    assert size.most_texts == 67


def test_a_text_that_a_server_stumbles_over_makes_no_requests_smaller(provider: Provider) -> None:
    embedder = provider.embedder()
    refuse_if(provider, lambda texts: TEXTS[7] in texts, Answer({"error": "assertion"}, 500))

    assert set(bisect(embedder, TEXTS)) == {TEXTS[7]}
    provider.payloads.clear()
    embedder.embed_documents([f"other {text}" for text in TEXTS])

    assert len(provider.payloads) == 4


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_number_of_texts_that_a_server_takes_is_learned(
    provider: Provider, status: int
) -> None:
    embedder = provider.embedder()
    refuse_if(provider, lambda texts: len(texts) > 32, Answer({"error": "too many"}, status))

    assert bisect(embedder, TEXTS) == {}
    assert any(len(texts) > 32 for texts in provider.inputs())
    provider.payloads.clear()
    embedder.embed_documents([f"other {text}" for text in TEXTS])

    assert max(len(texts) for texts in provider.inputs()) <= 32
    assert len(provider.payloads) <= 300 / 16


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer({"error": "too long"}, 400), TextRejectedError),
        (items([[float("nan"), 1.0, 1.0]]), BadVectorsError),
        (items([]), BadVectorsError),
        (Answer({"error": "assertion failed"}, 500), EmbeddingError),
    ],
)
def test_a_text_at_fault_is_found_and_no_other_is_paid_twice(
    provider: Provider, answer: Answer, error: type[EmbeddingError]
) -> None:
    embedder = provider.embedder()
    delivered: Counter[str] = Counter()

    def respond(texts: list[str]) -> Answer:
        if TEXTS[200] in texts or TEXTS[7] in texts:
            return answer
        delivered.update(texts)
        return items(map(vector_of, texts))

    provider.answer = respond
    faults = bisect(embedder, TEXTS)

    assert {text: type(found) for text, found in faults.items()} == dict.fromkeys(
        [TEXTS[7], TEXTS[200]], error
    )
    del delivered["dimensions"]
    assert delivered == Counter(set(TEXTS) - faults.keys())
    provider.answer = lambda texts: items(map(vector_of, texts))
    assert bisect(embedder, TEXTS) == {}  # it is not held against them for ever


def test_a_server_that_refuses_everything_is_asked_a_few_times_only(provider: Provider) -> None:
    embedder = provider.embedder()
    provider.always({"error": "the model is not loaded"}, 400)

    with pytest.raises(Exception, match="the model is not loaded") as caught:
        bisect(embedder, TEXTS)

    assert type(caught.value).__name__ == "ConfigurationError"  # so no row is given up for it
    assert len(provider.payloads) <= 4 * (8 + 2)


def test_an_outage_amid_a_call_wastes_nothing(provider: Provider) -> None:
    embedder = provider.embedder(concurrency=1)
    provider.to(TEXTS[200], Answer(b"", 503))

    with pytest.raises(ProviderError, match="503"):
        embedder.embed_documents(TEXTS)
    before = answered(provider)
    provider.payloads.clear()
    provider.answer = lambda texts: items(map(vector_of, texts))
    embedder.embed_documents(TEXTS)

    assert set(answered(provider)) == {text for text in TEXTS if before[text] != 1}
    assert 100 <= len(answered(provider)) <= 200


def test_texts_too_long_for_openai_are_cut_as_far_as_need_be(provider: Provider) -> None:
    embedder = provider.embedder("openai:text-embedding-3-small")
    tokens = 2  # of each letter here

    def long(texts: list[str]) -> bool:
        return any(len(text) * tokens > 8191 for text in texts)

    refuse_if(provider, long, Answer({"error": "maximum context length is 8192 tokens"}, 400))
    embedder.embed_documents(["漢" * 100_000, "short"])

    assert embedder.max_tokens == 8191
    lengths = [len(texts[-1]) for texts in provider.inputs() if texts[-1][0] == "漢"]
    assert max(lengths) <= 8191 * 4
    assert 3000 <= lengths[-1] <= 4095
