"""Endpoints that never come to an end: each call does, and what was answered is kept."""

from __future__ import annotations

import time

import pytest
import stamina

from embedsql import ProviderError
from embedsql.embedders.openai import OpenAIEmbedder, Patience
from tests.unit.embedding_server import Answer, Manner, Provider, items, vector_of

TEXTS = [f"text {n:02}" for n in range(1, 65)]
IMPATIENT = Patience(request_seconds=0.8)
PATIENT = Patience(request_seconds=3600)


@pytest.fixture(autouse=True)
def no_pauses() -> object:
    with stamina.set_testing(True, attempts=4):
        yield


@pytest.mark.parametrize("manner", ["silent", "trickling"])
def test_an_answer_that_does_not_come_is_given_up(provider: Provider, manner: Manner) -> None:
    embedder = provider.embedder(patience=IMPATIENT)
    provider.answer = lambda texts: Answer(manner=manner)

    with pytest.raises(ProviderError, match=r"did not answer within 0\.8 s"):
        embedder.embed_documents(["text"])


@pytest.mark.parametrize("manner", ["silent", "trickling"])
def test_a_call_ends_whatever_its_requests_do(provider: Provider, manner: Manner) -> None:
    embedder = provider.embedder(patience=PATIENT, call_seconds=0.9)
    provider.answer = lambda texts: Answer(manner=manner)

    for embed in (embedder.embed_documents, embedder.embed_queries):
        with pytest.raises(ProviderError, match=r"needed more than 0\.9 s"):
            embed(["text"])


def test_a_call_ends_amid_its_retries(provider: Provider) -> None:
    embedder = provider.embedder(call_seconds=0.9)
    provider.always({}, 429, Retry_After="4")

    with stamina.set_testing(False), pytest.raises(ProviderError, match=r"more than 0\.9 s"):
        embedder.embed_documents(["text"])
    assert len(provider.payloads) == 1


def test_a_server_that_never_answers_the_probe_is_given_up(provider: Provider) -> None:
    provider.answer = lambda texts: Answer(manner="silent")

    with pytest.raises(ProviderError, match=r"more than 0\.9 s"):
        OpenAIEmbedder("openai:small", base_url=provider.url, call_seconds=0.9)


def test_what_was_answered_before_the_end_of_a_call_is_not_sent_again(provider: Provider) -> None:
    embedder = provider.embedder(patience=PATIENT, call_seconds=1.0)
    provider.to(TEXTS[0], Answer(manner="silent"))

    with pytest.raises(ProviderError):
        embedder.embed_documents(TEXTS)
    provider.payloads.clear()
    provider.answer = lambda texts: items(map(vector_of, texts))
    embedder.embed_documents(TEXTS)

    assert provider.inputs() == [TEXTS[:16]]


@pytest.mark.exhaustive
def test_a_server_too_slow_for_large_requests_gets_smaller_ones(provider: Provider) -> None:
    embedder = provider.embedder(patience=Patience(request_seconds=2.0), concurrency=1)
    usual = provider.answer
    provider.answer = lambda texts: Answer(manner="silent") if len(texts) > 8 else usual(texts)

    assert embedder.embed_documents(TEXTS).shape == (64, 3)
    provider.payloads.clear()
    embedder.embed_documents([f"other {text}" for text in TEXTS])

    assert max(len(texts) for texts in provider.inputs() if len(texts) <= 8) == 8
    assert sum(len(texts) > 8 for texts in provider.inputs()) <= 1  # it tries for more now and then


def test_no_request_is_sent_while_another_was_told_to_wait(provider: Provider) -> None:
    embedder = provider.embedder(call_seconds=1.0, concurrency=4)
    texts = [f"text {n:04}" for n in range(5 * 128)]

    def answer(sent: list[str]) -> Answer:
        if texts[0] in sent:
            return Answer({}, 429, {"Retry-After": "4"})
        time.sleep(0.3)  # so that the others are answered later
        return items(map(vector_of, sent))

    provider.answer = answer
    with stamina.set_testing(False), pytest.raises(ProviderError, match="more than 1 s"):
        embedder.embed_documents(texts)
    assert len(provider.payloads) == 4
