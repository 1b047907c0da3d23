from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from embedsql import ConfigurationError
from embedsql.embedders import EmbedderOptions, load_embedder
from embedsql.embedders.base import Vectors, normalized
from embedsql.embedders.hashing import HashEmbedder
from embedsql.embedders.openai import OpenAIEmbedder
from tests.unit.embedding_server import Answer, Provider, items, vector_of


def directions(texts: Sequence[str]) -> Vectors:
    whole = np.array([vector_of(text) for text in texts], dtype=np.float32)
    return normalized(whole)


def test_texts_become_unit_vectors_in_order_with_their_prompts(provider: Provider) -> None:
    embedder = provider.load(query_prompt="q: ", document_prompt="d: ")

    np.testing.assert_allclose(
        embedder.embed_documents(["a", "bbb"]), directions(["d: a", "d: bbb"]), rtol=1e-6
    )
    np.testing.assert_allclose(embedder.embed_queries(["a"]), directions(["q: a"]), rtol=1e-6)
    assert provider.inputs()[1:] == [["d: a", "d: bbb"], ["q: a"]]
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


@pytest.mark.parametrize("manner", ["honours", "ignores", "refuses"])
def test_base64_is_asked_for_and_not_needed(provider: Provider, manner: str) -> None:
    provider.base64 = manner  # type: ignore[assignment]
    embedder = provider.load()

    np.testing.assert_allclose(embedder.embed_documents(["bbb"]), directions(["bbb"]), rtol=1e-6)
    asked = [payload.get("encoding_format") for payload in provider.payloads]
    # the probe twice where it is refused, and never again
    assert asked == (["base64", None, None] if manner == "refuses" else ["base64", "base64"])


def test_a_server_that_turns_against_base64_is_followed(provider: Provider) -> None:
    embedder = provider.load()
    provider.base64 = "refuses"
    texts = [f"text {n}" for n in range(10)]

    np.testing.assert_allclose(embedder.embed_documents(texts), directions(texts), rtol=1e-6)
    embedder.embed_documents([f"more {n}" for n in range(10)])
    assert provider.inputs()[-1] == [f"more {n}" for n in range(10)]


def test_no_texts_give_no_vectors(provider: Provider) -> None:
    assert provider.load().embed_documents([]).shape == (0, 3)


def test_equal_texts_are_sent_once(provider: Provider) -> None:
    embedder = provider.embedder()

    vectors = embedder.embed_documents(["a", "bbb", "a"])

    np.testing.assert_allclose(vectors, directions(["a", "bbb", "a"]), rtol=1e-6)
    assert provider.inputs() == [["a", "bbb"]]


def test_half_a_surrogate_pair_is_sent_as_a_question_mark(provider: Provider) -> None:
    embedder = provider.embedder()

    embedder.embed_queries(["half a \ud83d smiley"])

    assert provider.inputs() == [["half a ? smiley"]]


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/embeddings"])
def test_the_base_url_is_taken_with_and_without_v1(provider: Provider, ending: str) -> None:
    provider.url += ending
    provider.load()

    assert provider.paths == ["/v1/embeddings"]


def test_a_base_url_with_a_path_and_a_query_of_its_own_keeps_them(provider: Provider) -> None:
    provider.url += "/proxy/openai?api-version=2"
    provider.load()

    assert provider.paths == ["/proxy/openai/embeddings?api-version=2"]


@pytest.mark.parametrize("url", ["ftp://host", "host:80", "http://", "nonsense", "http://[bad/v1"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base URL is not valid"):
        load_embedder("openai:small", EmbedderOptions(base_url=url))


def test_a_base_url_that_cannot_be_parsed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_embedder("openai:small", EmbedderOptions(base_url="http://host:port/v1"))


def test_the_key_of_the_environment_is_sent(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.load()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    provider.load()
    provider.load(api_key="sk-argument")

    assert provider.authorizations == [None, "Bearer sk-environment", "Bearer sk-argument"]


def test_user_and_password_of_the_url_are_sent_and_are_no_part_of_the_provider(
    provider: Provider,
) -> None:
    host = provider.url.removeprefix("http://")
    provider.url = f"http://user:hunter2@{host}/v1?key=hunter3"
    embedder = provider.load()

    assert provider.authorizations == ["Basic dXNlcjpodW50ZXIy"]
    assert embedder.provider == f"http://{host}/v1"
    assert HashEmbedder("hash:8").provider == "local"


@pytest.mark.parametrize(("model", "sent"), [("text-embedding-3-small", 3), ("small", None)])
def test_dimensions_are_asked_for_where_the_model_can_cut(
    provider: Provider, model: str, sent: int | None
) -> None:
    provider.load(f"openai:{model}", dimensions=3)

    assert provider.payloads[0].get("dimensions") == sent


def test_other_dimensions_than_the_declared_are_refused(provider: Provider) -> None:
    with pytest.raises(ConfigurationError, match="3 dimensions, not 1536"):
        provider.load(dimensions=1536)


def test_connections_are_kept(provider: Provider) -> None:
    embedder = provider.embedder()

    for number in range(10):
        embedder.embed_queries([f"question {number}"])

    assert (len(provider.payloads), provider.connections) == (10, 1)


def test_it_can_be_called_inside_an_event_loop_and_from_many_threads(provider: Provider) -> None:
    embedder = provider.load()
    found: dict[str, Vectors] = {}

    async def handle(text: str) -> None:
        found[text] = embedder.embed_queries([text])

    threads = [
        threading.Thread(target=asyncio.run, args=[handle("x" * number)]) for number in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for text, vectors in found.items():
        np.testing.assert_allclose(vectors, directions([text]), rtol=1e-6)
    assert len(found) == 8


def embed_in_child(embedder: OpenAIEmbedder) -> None:
    found = embedder.embed_queries(["of the child"])
    os._exit(0 if np.allclose(found, directions(["of the child"])) else 1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_it_works_on_in_a_forked_process(provider: Provider) -> None:
    embedder = provider.embedder()
    child = multiprocessing.get_context("fork").Process(target=embed_in_child, args=[embedder])
    child.start()
    child.join(60)

    assert child.exitcode == 0
    embedder.embed_queries(["of the parent"])
    assert provider.inputs() == [["of the child"], ["of the parent"]]
