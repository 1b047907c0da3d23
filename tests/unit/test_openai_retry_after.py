"""Retry-After, in seconds or as a date: waited for in the call if short, by the caller if long."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from stamina.instrumentation import RetryDetails, get_on_retry_hooks, set_on_retry_hooks

from embedsql import ProviderError
from embedsql.embedders.openai.answer import retry_after
from tests.unit.embedding_server import Answer, Provider, items, vector_of


@contextlib.contextmanager
def recorded_retries() -> Iterator[list[RetryDetails]]:
    """The pauses as they are planned."""
    retries: list[RetryDetails] = []
    usual = get_on_retry_hooks()

    def record(details: RetryDetails) -> None:
        retries.append(details)

    set_on_retry_hooks([record])
    try:
        yield retries
    finally:
        set_on_retry_hooks(usual)


def test_a_short_retry_after_is_waited_for(provider: Provider) -> None:
    embedder = provider.embedder()
    provider.to("patience", Answer({}, 429, {"Retry-After": "0.3"}), items([vector_of("")]))

    with recorded_retries() as retries:
        embedder.embed_documents(["patience"])

    assert [0.3 <= retry.wait_for <= 0.36 for retry in retries] == [True]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer({}, 429, {"Retry-After": "7"}), 7),
        (Answer({}, 503, {"Retry-After": "99999"}), 3600),
        (Answer({"error": {"code": "insufficient_quota"}}, 429), 60),
    ],
)
def test_a_long_retry_after_is_the_callers_to_wait_for(
    provider: Provider, answer: Answer, seconds: float
) -> None:
    embedder = provider.embedder()
    provider.answer = lambda texts: answer

    with pytest.raises(ProviderError) as caught:
        embedder.embed_documents(["text"])

    assert caught.value.retry_after == seconds
    assert len(provider.payloads) == 1


NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "inf"}, 3600.0),
        ({"Retry-After": "7", "retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": format_datetime(NOW)}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:27:30 -0000", "Date": format_datetime(NOW)}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2126 07:28:30 GMT"}, 3600.0),
        ({"Retry-After": "Wed, 99 Oct 2026 07:28:30 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(httpx.Headers(headers)) == seconds


def test_a_date_without_the_servers_clock_is_read_by_ours() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)

    seconds = retry_after(httpx.Headers({"Retry-After": soon}))

    assert seconds is not None
    assert 0 < seconds <= 600
