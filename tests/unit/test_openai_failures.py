from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from embedsql import (
    BadVectorsError,
    ConfigurationError,
    EmbedsqlError,
    ProviderError,
    TextRejectedError,
    UnknownModelError,
)
from embedsql.embedders import Embedder, EmbedderOptions, check_vectors, load_embedder
from tests.unit.embedding_server import Provider, closed_port, items, serving


@pytest.fixture(scope="module", autouse=True)
def bare_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def embedder(server: Provider) -> Embedder:
    """Made while the server is well, and once: each client reads the system's certificates."""
    return server.load()


@pytest.fixture
def provider(server: Provider) -> Iterator[Provider]:
    usual = server.answer
    yield server
    server.answer = usual


def test_a_key_with_a_line_break_is_not_told_to_the_log(provider: Provider) -> None:
    said = ""
    try:
        provider.load(api_key="sk-secret\n")
    except EmbedsqlError as error:
        said = str(error)

    assert "sk-secret" not in said


def test_a_password_in_the_base_url_is_not_told_to_the_log() -> None:
    url = f"http://user:hunter2@127.0.0.1:{closed_port()}"
    with pytest.raises(ProviderError) as caught:
        load_embedder("openai:small", EmbedderOptions(base_url=url))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (408, ProviderError),
        (429, ProviderError),
        (500, ProviderError),
        (503, ProviderError),
        (401, ConfigurationError),
        (403, ConfigurationError),
        (404, UnknownModelError),
        (400, TextRejectedError),
        (413, TextRejectedError),
        (422, TextRejectedError),
    ],
)
def test_a_failure_is_classed_by_whom_it_blames(
    provider: Provider, embedder: Embedder, status: int, expected: type[EmbedsqlError]
) -> None:
    provider.always({"error": {"message": "what went wrong"}}, status)

    with pytest.raises(expected, match=f"answered {status}.*what went wrong") as caught:
        embedder.embed_documents(["text"])
    assert type(caught.value) is expected


@pytest.mark.parametrize("status", [301, 308, 402, 405])
def test_a_wrong_address_or_account_is_not_blamed_on_the_text(
    provider: Provider, embedder: Embedder, status: int
) -> None:
    provider.always({}, status, Location="https://elsewhere.invalid/")

    with pytest.raises(ConfigurationError):
        embedder.embed_documents(["text"])


def test_a_model_that_refuses_even_the_probe_is_misconfigured(provider: Provider) -> None:
    provider.always({"error": {"message": "no such model"}}, 400)

    with pytest.raises(ConfigurationError):
        provider.load()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)],
)
def test_retry_after_is_passed_on(
    provider: Provider, embedder: Embedder, said: str, seconds: float | None
) -> None:
    provider.always({}, 429, Retry_After=said)

    with pytest.raises(ProviderError) as caught:
        embedder.embed_documents(["text"])
    assert caught.value.retry_after == seconds


def test_retry_after_is_never_for_ever(provider: Provider, embedder: Embedder) -> None:
    provider.always({}, 429, Retry_After="inf")

    with pytest.raises(ProviderError) as caught:
        embedder.embed_documents(["text"])
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": [{"embedding": [1, 2]}]}',
        b'{"data": [{"index": 0}]}',
        b'{"data": [{"index": 0, "embedding": null}]}',
        b'{"data": [{"index": 0, "embedding": 1.5}]}',
        b'{"data": [{"index": 0, "embedding": "AAA="}]}',
        b'{"data": [{"index": 0, "embedding": ["a"]}]}',
        b'{"data": ["a"]}',
    ],
)
def test_an_answer_that_cannot_be_read_is_refused(
    provider: Provider, embedder: Embedder, body: bytes
) -> None:
    provider.always(body)

    with pytest.raises(BadVectorsError):
        embedder.embed_documents(["text"])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_vectors_is_refused(
    provider: Provider, embedder: Embedder, count: int
) -> None:
    provider.answer = lambda texts: items([[1.0, 2.0, 3.0]] * count)

    with pytest.raises(BadVectorsError, match=f"{count} vectors for 2 texts"):
        embedder.embed_documents(["one", "two"])


def test_vectors_of_unequal_length_are_refused(provider: Provider, embedder: Embedder) -> None:
    provider.answer = lambda texts: items([[1.0, 2.0, 3.0], [1.0, 2.0]])

    with pytest.raises(BadVectorsError):
        embedder.embed_documents(["one", "two"])


@pytest.mark.parametrize(
    "vector", [[float("nan"), 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0]]
)
def test_vectors_that_must_not_be_stored_are_caught(
    provider: Provider, embedder: Embedder, vector: list[float]
) -> None:
    provider.answer = lambda texts: items([vector])

    with pytest.raises(BadVectorsError):
        check_vectors(embedder.embed_documents(["text"]), 1, embedder.space.dimensions)


def test_an_infinite_vector_is_caught_without_a_warning(
    provider: Provider, embedder: Embedder
) -> None:
    provider.answer = lambda texts: items([[float("inf"), 1.0, 1.0]])

    with pytest.raises(BadVectorsError):
        check_vectors(embedder.embed_documents(["text"]), 1, 3)


def test_a_server_that_is_not_there_is_the_providers_fault() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(ProviderError, match=f"{url}.*does not answer"):
        load_embedder("openai:small", EmbedderOptions(base_url=url))


def test_a_server_that_hangs_up_is_the_providers_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=lambda: listening.accept()[0].close())
        thread.start()
        with pytest.raises(ProviderError, match="does not answer"):
            load_embedder("openai:small", EmbedderOptions(base_url=f"http://127.0.0.1:{port}"))
        thread.join()
