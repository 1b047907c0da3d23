"""Each way in which an endpoint can fail: whom the error blames, and what is tried first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import stamina

from embedsql import (
    BadVectorsError,
    ConfigurationError,
    EmbedsqlError,
    ProviderError,
    TextRejectedError,
    UnknownModelError,
)
from embedsql.embedders import EmbedderOptions, check_vectors, load_embedder
from embedsql.embedders.openai import OpenAIEmbedder
from tests.unit.embedding_server import Answer, Provider, closed_port, items, serving, vector_of

ATTEMPTS = 4
WELL = items([vector_of("text")])


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def shared(server: Provider) -> OpenAIEmbedder:
    """Made once: each client reads the system's certificates."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI_API_KEY", "HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
        return OpenAIEmbedder("openai:small", base_url=server.url)


@pytest.fixture
def provider(bare_environment: None, server: Provider) -> Iterator[Provider]:
    usual = server.answer
    yield server
    server.answer = usual


@pytest.fixture
def embedder(provider: Provider, shared: OpenAIEmbedder) -> OpenAIEmbedder:
    provider.payloads.clear()
    return shared


def text_of(request: pytest.FixtureRequest) -> str:
    return f"text of {request.node.name}"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (408, ProviderError),
        (409, ProviderError),
        (429, ProviderError),
        (500, ProviderError),
        (502, ProviderError),
        (503, ProviderError),
        (401, ConfigurationError),
        (402, ConfigurationError),
        (403, ConfigurationError),
        (404, UnknownModelError),
        (405, ConfigurationError),
        (301, ConfigurationError),
        (308, ConfigurationError),
        (400, ConfigurationError),
        (422, ConfigurationError),
    ],
)
def test_what_any_text_meets_is_not_blamed_on_the_text(
    provider: Provider, embedder: OpenAIEmbedder, status: int, expected: type[EmbedsqlError]
) -> None:
    provider.always({"error": "what went wrong"}, status, Location="https://elsewhere.invalid/")

    with pytest.raises(expected, match=f"answered {status}.*what went wrong"):
        embedder.embed_documents(["text"])


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_one_text_is_blamed_on_it(
    provider: Provider, embedder: OpenAIEmbedder, status: int
) -> None:
    provider.to("evil", Answer({"error": "not this"}, status))

    with pytest.raises(TextRejectedError, match=f"answered {status}.*not this"):
        embedder.embed_documents(["evil"])
    assert provider.inputs() == [["evil"], ["dimensions"]]


@pytest.mark.parametrize(
    "trouble",
    [
        Answer({}, 408),
        Answer({}, 429),
        Answer({}, 429, {"Retry-After": "0"}),
        Answer({}, 500),
        Answer({}, 503),
        Answer(b"<html>502</html>", 502),
        Answer(b"<html>maintenance</html>"),
        Answer(b""),
        Answer(WELL.body, manner="cut off"),
        Answer(manner="hanging up"),
        Answer(manner="reset"),
        Answer(manner="endless"),
        Answer(b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=lambda trouble: f"{trouble.status} {trouble.manner} {trouble.body!r}"[:40],
)
def test_a_trouble_that_passes_is_not_told_and_one_that_stays_is_the_providers(
    provider: Provider,
    embedder: OpenAIEmbedder,
    request: pytest.FixtureRequest,
    trouble: Answer,
) -> None:
    text = text_of(request)
    provider.to(text, *[trouble] * (ATTEMPTS - 1), items([vector_of(text)]))
    assert embedder.embed_documents([text]).shape == (1, 3)
    assert provider.inputs() == [[text]] * ATTEMPTS

    provider.payloads.clear()
    provider.answer = lambda texts: trouble
    with pytest.raises(ProviderError, match=provider.url):
        embedder.embed_documents(["another " + text])
    assert len(provider.payloads) <= 2 * ATTEMPTS


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": []}',
        b'{"data": [{"embedding": [1, 2, 3]}]}',
        b'{"data": [{"index": 0}]}',
        b'{"data": [{"index": 1, "embedding": [1, 2, 3]}]}',
        b'{"data": [{"index": [], "embedding": [1, 2, 3]}]}',
        b'{"data": [{"index": 0, "embedding": null}]}',
        b'{"data": [{"index": 0, "embedding": 1.5}]}',
        b'{"data": [{"index": 0, "embedding": []}]}',
        b'{"data": [{"index": 0, "embedding": [[1, 2, 3]]}]}',
        b'{"data": [{"index": 0, "embedding": "AAA="}]}',
        b'{"data": [{"index": 0, "embedding": "no base64"}]}',
        b'{"data": [{"index": 0, "embedding": ["a"]}]}',
        b'{"data": [{"index": 0, "embedding": [NaN, 1, 1]}]}',
        b'{"data": [{"index": 0, "embedding": [null, 1, 1]}]}',
        b'{"data": [{"index": 0, "embedding": [Infinity, 1, 1]}]}',
        b'{"data": [{"index": 0, "embedding": [1e39, 1, 1]}]}',
        b'{"data": [{"index": 0, "embedding": [0, 0, 0]}]}',
        b'{"data": ["a"]}',
    ],
)
def test_vectors_that_must_not_be_stored_are_refused(
    provider: Provider, embedder: OpenAIEmbedder, body: bytes
) -> None:
    provider.to("text", Answer(body))

    with pytest.raises(BadVectorsError):
        embedder.embed_documents(["text"])


@pytest.mark.parametrize("body", [b"null", b"[]", b'{"data": null}', b"\xff\xfe", b"[" * 100_000])
def test_an_answer_without_embeddings_is_the_providers_fault(
    provider: Provider, embedder: OpenAIEmbedder, body: bytes
) -> None:
    provider.to("text", Answer(body))

    with pytest.raises(ProviderError, match="without embeddings"):
        embedder.embed_documents(["text"])


@pytest.mark.parametrize("numbers", [[], [0], [0, 0], [1, 2], [0, 1, 2]])
def test_vectors_wrongly_counted_or_numbered_are_refused(
    provider: Provider, embedder: OpenAIEmbedder, numbers: list[int]
) -> None:
    data = [{"index": number, "embedding": [1.0, 2.0, 3.0]} for number in numbers]
    provider.to("wrong", Answer({"data": data}), items([[float("nan"), 1.0, 1.0]]))

    with pytest.raises(BadVectorsError):
        embedder.embed_documents(["wrong one", "wrong two"])


def test_vectors_of_unequal_length_are_not_mixed_up(
    provider: Provider, embedder: OpenAIEmbedder
) -> None:
    uneven = items([[1.0, 2.0, 3.0], [1.0, 2.0]])
    provider.to("uneven", uneven, items([[3.0, 4.0, 0.0]]))

    vectors = embedder.embed_documents(["uneven one", "uneven two"])

    np.testing.assert_allclose(check_vectors(vectors, 2, 3), [[0.6, 0.8, 0]] * 2, rtol=1e-6)
    assert provider.inputs()[1:] == [["uneven one"], ["uneven two"]]


@pytest.mark.parametrize("length", [2, 4])
def test_another_model_under_the_same_name_stops_the_index(
    provider: Provider, embedder: OpenAIEmbedder, length: int
) -> None:
    provider.answer = lambda texts: items([[1.0] * length] * len(texts))

    with pytest.raises(ConfigurationError, match=f"{length} dimensions now, and gave 3 before"):
        embedder.embed_documents(["text"])


def test_a_model_that_refuses_even_the_probe_is_misconfigured(provider: Provider) -> None:
    provider.always({"error": {"message": "no such model"}}, 400)

    with pytest.raises(ConfigurationError, match="no such model"):
        provider.load()


def test_a_server_that_is_not_there_is_the_providers_fault(bare_environment: None) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(ProviderError, match=f"{url}.*does not answer"):
        load_embedder("openai:small", EmbedderOptions(base_url=url))
