from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from embedsql import ConfigurationError
from embedsql.embedders import EmbedderOptions, load_embedder
from embedsql.embedders.base import Vectors, normalized
from tests.unit.embedding_server import Answer, Provider, items, serving, vector_of


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving() as started:
        yield started


def directions(texts: Sequence[str]) -> Vectors:
    whole = np.array([vector_of(text) for text in texts], dtype=np.float32)
    return normalized(whole)


def test_texts_become_unit_vectors_in_order_with_their_prompts(provider: Provider) -> None:
    embedder = provider.load(query_prompt="q: ", document_prompt="d: ")

    np.testing.assert_allclose(
        embedder.embed_documents(["a", "bbb"]), directions(["d: a", "d: bbb"]), rtol=1e-6
    )
    np.testing.assert_allclose(embedder.embed_queries(["a"]), directions(["q: a"]), rtol=1e-6)
    assert [payload["input"] for payload in provider.payloads[1:]] == [
        ["d: a", "d: bbb"],
        ["q: a"],
    ]
    assert {payload["model"] for payload in provider.payloads} == {"small"}
    assert (embedder.space.model, embedder.space.dimensions) == ("openai:small", 3)


def test_vectors_out_of_order_find_their_texts(provider: Provider) -> None:
    embedder = provider.load()
    provider.answer = lambda texts: Answer(
        {"data": list(reversed(items(map(vector_of, texts)).body["data"]))}
    )

    np.testing.assert_allclose(
        embedder.embed_documents(["a", "bbb", "cc"]), directions(["a", "bbb", "cc"]), rtol=1e-6
    )


def test_base64_vectors_are_read(provider: Provider) -> None:
    embedder = provider.load()
    provider.answer = lambda texts: items(
        base64.b64encode(np.array(vector_of(text), dtype="<f4").tobytes()).decode()
        for text in texts
    )

    np.testing.assert_allclose(embedder.embed_documents(["bbb"]), directions(["bbb"]), rtol=1e-6)


def test_many_texts_go_in_several_requests(provider: Provider) -> None:
    texts = ["x" * (number % 7) for number in range(300)]
    vectors = provider.load().embed_documents(texts)

    np.testing.assert_allclose(vectors, directions(texts), rtol=1e-6)
    assert [len(payload["input"]) for payload in provider.payloads[1:]] == [128, 128, 44]


def test_no_texts_give_no_vectors(provider: Provider) -> None:
    assert provider.load().embed_documents([]).shape == (0, 3)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/embeddings"])
def test_the_base_url_is_taken_with_and_without_v1(provider: Provider, ending: str) -> None:
    provider.url += ending
    provider.load()

    assert provider.paths == ["/v1/embeddings"]


def test_a_base_url_with_a_path_of_its_own_keeps_it(provider: Provider) -> None:
    provider.url += "/proxy/openai"
    provider.load()

    assert provider.paths == ["/proxy/openai/embeddings"]


@pytest.mark.parametrize("url", ["ftp://host", "host:80", "http://", "nonsense"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no base URL"):
        load_embedder("openai:small", EmbedderOptions(base_url=url))


@pytest.mark.parametrize("url", ["http://[bad/v1", "http://host:port/v1"])
def test_a_base_url_that_cannot_be_parsed_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        load_embedder("openai:small", EmbedderOptions(base_url=url))


def test_the_key_of_the_environment_is_sent(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.load()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    provider.load()
    provider.load(api_key="sk-argument")

    assert provider.authorizations == [None, "Bearer sk-environment", "Bearer sk-argument"]


@pytest.mark.parametrize(("model", "sent"), [("text-embedding-3-small", 3), ("small", None)])
def test_dimensions_are_asked_for_where_the_model_can_cut(
    provider: Provider, model: str, sent: int | None
) -> None:
    provider.load(f"openai:{model}", dimensions=3)

    assert provider.payloads[0].get("dimensions") == sent


def test_other_dimensions_than_the_declared_are_refused(provider: Provider) -> None:
    with pytest.raises(ConfigurationError, match="3 dimensions, not 1536"):
        provider.load(dimensions=1536)
