from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsql import ConfigurationError, UnknownModelError
from embedsql.embedders import EmbedderOptions, Space, check_vectors, load_embedder

EMBEDDER = load_embedder("hash:64")


@given(texts=st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_gets_a_storable_vector_of_unit_length(texts: list[str]) -> None:
    vectors = check_vectors(EMBEDDER.embed_documents(texts), len(texts), 64)

    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


@given(text=st.text(), others=st.lists(st.text(), max_size=3))
def test_a_vector_does_not_depend_on_its_neighbours(text: str, others: list[str]) -> None:
    alone = EMBEDDER.embed_documents([text])[0]
    among = EMBEDDER.embed_documents([*others, text])[-1]

    np.testing.assert_array_equal(alone, among)


def test_texts_that_share_words_are_nearer() -> None:
    query, near, far = load_embedder("hash:512").embed_documents(
        ["reset my password", "how to reset a password", "the weather in Bergen"]
    )

    assert query @ near > query @ far


def test_no_texts_give_no_vectors() -> None:
    assert EMBEDDER.embed_documents([]).shape == (0, 64)


def test_prompts_are_put_before_queries_and_documents_apart() -> None:
    prompted = load_embedder(
        "hash:64", EmbedderOptions(query_prompt="question ", document_prompt="passage ")
    )

    np.testing.assert_array_equal(
        prompted.embed_queries(["a b"]), EMBEDDER.embed_documents(["question a b"])
    )
    np.testing.assert_array_equal(
        prompted.embed_documents(["a b"]), EMBEDDER.embed_documents(["passage a b"])
    )
    assert prompted.space != EMBEDDER.space
    assert prompted.space.label != EMBEDDER.space.label


def test_another_process_gives_the_same_vector() -> None:
    code = (
        "from embedsql.embedders import load_embedder;"
        "print(load_embedder('hash:8').embed_documents(['the same words']).tolist())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    here = load_embedder("hash:8").embed_documents(["the same words"]).tolist()
    assert found.strip() == str(here)


@pytest.mark.parametrize(
    "model", ["hash:", "hash:0", "hash:-1", "hash:16001", "hash:many", "hash:6.4", "hash"]
)
def test_a_name_without_usable_dimensions_is_unknown(model: str) -> None:
    with pytest.raises(UnknownModelError):
        load_embedder(model)


@pytest.mark.parametrize("model", ["", "openai:", "sentence-transformers/", "glove:50"])
def test_a_name_of_no_embedder_is_unknown_and_the_message_lists_the_forms(model: str) -> None:
    with pytest.raises(UnknownModelError, match=r"sentence-transformers/.*openai:.*hash:"):
        load_embedder(model)


def test_other_dimensions_than_the_models_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="64 dimensions, not 32"):
        load_embedder("hash:64", EmbedderOptions(dimensions=32))


def test_the_space_label_tells_equal_spaces_from_others() -> None:
    one = Space("m", 8)

    assert one.label == Space("m", 8).label
    others = [Space("n", 8), Space("m", 9), Space("m", 8, "q"), Space("m", 8, "", "q")]
    assert len({space.label for space in [one, *others, Space("m", 8, normalized=False)]}) == 6
