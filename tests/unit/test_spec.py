from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsql import Chunking, DeclarationError, Hnsw, IndexSpec, Ivfflat, KeyColumn
from embedsql.build_memory import build_memory
from embedsql.choices import check_name
from embedsql.ddl import wanted_indexes
from embedsql.plan.sizes import ann_bytes
from embedsql.spec import DEFAULT_MODEL

KEY = (KeyColumn("id", "bigint"),)


def spec(**changes: Any) -> IndexSpec:
    values: dict[str, Any] = {
        "name": "article_search",
        "table": "article",
        "key": KEY,
        "text": ("title", "body"),
        "dimensions": 384,
    }
    return IndexSpec(**(values | changes))


def test_defaults_are_the_default_model_hnsw_english_and_chunks() -> None:
    plain = spec()

    assert plain.model == DEFAULT_MODEL
    assert (plain.schema, plain.index, plain.quantization) == ("public", "hnsw", "none")
    assert plain.hnsw == Hnsw(m=16, ef_construction=64)
    assert plain.lexical == "english"
    assert plain.chunking == Chunking()
    assert plain.template is None


@pytest.mark.parametrize(
    ("quantization", "expected"), [("none", "vector(384)"), ("halfvec", "halfvec(384)")]
)
def test_vector_type_follows_the_quantization(quantization: str, expected: str) -> None:
    assert spec(quantization=quantization).vector_type == expected


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"key": ()}, "no primary key"),
        ({"text": ()}, "no text column"),
        ({"text": ("body", "body")}, "twice"),
        ({"quantization": "int4"}, "int4"),
        ({"index": "flat"}, "flat"),
        ({"dimensions": 0}, "0 dimensions"),
        ({"dimensions": -1}, "-1 dimensions"),
        ({"dimensions": 16_001, "index": "none"}, "16001 dimensions"),
        ({"dimensions": 2001}, "at most 2000"),
        ({"dimensions": 4001, "quantization": "halfvec"}, "at most 4000"),
        ({"template": "{title}"}, "must say {chunk} once"),
        ({"chunking": "no"}, "chunking must be a Chunking, not 'no'"),
        ({"text": (KeyColumn("body", "text"),)}, "text column's name must be a str"),
        ({"name": ""}, "needs a name"),
        ({"name": "a\0b"}, "NUL"),
        ({"name": "n" * 64}, "63 bytes"),
        ({"dimensions": 2001}, "at most 2000 dimensions of vector.* quantization 'halfvec'"),
        ({"dimensions": 4001, "quantization": "halfvec"}, "at most 4000 .* index_dimensions"),
        ({"dimensions": 64, "index_dimensions": 64}, "fewer than the 64"),
        ({"quantization": "int8", "stored": "vector"}, "int8 stores codes"),
        ({"stored": "halfvec"}, "quantization 'halfvec'"),
        ({"lexical_index": "bm25"}, "no such lexical index: 'bm25'; use gin, hnsw"),
        ({"lexical_index": "hnsw", "lexical": None}, "'hnsw' needs a lexical lane"),
        ({"metric": "hamming"}, "no such metric: 'hamming'; use cosine, l2, inner_product"),
        ({"storage": "column"}, "one vector a row"),
        ({"storage": "column", "chunking": None, "quantization": "int8"}, "a table of their own"),
        ({"storage": "column", "chunking": None, "vector_column": "body"}, "the text's"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DeclarationError, match=complaint):
        spec(**changes)


@pytest.mark.parametrize("column", ["chunk_seq", "chunk", "embedding"])
def test_a_key_named_as_a_view_column_is_refused(column: str) -> None:
    with pytest.raises(DeclarationError, match=column):
        spec(key=(KeyColumn("id", "bigint"), KeyColumn(column, "int")))


@pytest.mark.parametrize(
    "changes",
    [
        {"dimensions": 2000},
        {"dimensions": 4000, "quantization": "halfvec"},
        {"dimensions": 16_000, "index": "none"},
        {"dimensions": 16_000, "quantization": "bit"},
        {"dimensions": 4096, "quantization": "int8"},
        {"dimensions": 4096, "index_dimensions": 1024},
        {"dimensions": 2560, "quantization": "halfvec", "index": "ivfflat"},
        {"storage": "column", "chunking": None},
        {"name": "n" * 63},
        {"name": "Anführung \"mit\" 'Zeichen'"},
    ],
)
def test_a_declaration_at_the_limit_is_taken(changes: dict[str, Any]) -> None:
    assert spec(**changes).to_json().items() >= changes.items()


def test_a_name_is_measured_in_bytes_not_characters() -> None:
    check_name("ü" * 31)
    with pytest.raises(DeclarationError, match="63 bytes"):
        check_name("ü" * 32)


def test_a_name_that_is_not_valid_text_is_refused() -> None:
    with pytest.raises(DeclarationError):
        check_name("search_\udc80")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tokens": 7}, "too short"),
        ({"overlap": -1}, "0 tokens or more"),
        ({"tokens": 100, "overlap": 51}, "at most 50"),
    ],
)
def test_chunking_that_makes_no_sense_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DeclarationError, match=complaint):
        Chunking(**options)


def test_chunking_by_tokens_alone_brings_a_fitting_overlap() -> None:
    assert Chunking(tokens=100).overlap is None


@pytest.mark.parametrize(
    "options",
    [
        {"m": 1},
        {"m": 101},
        {"m": 16, "ef_construction": 31},
        {"m": 2, "ef_construction": 3},
        {"ef_construction": 1001},
    ],
)
def test_hnsw_options_that_pgvector_refuses_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(DeclarationError, match="HNSW"):
        Hnsw(**options)


def test_ivfflat_above_a_million_rows_is_planned_with_the_lists_that_are_built() -> None:
    rows = 4_000_000
    chosen, named = spec(index="ivfflat"), spec(index="ivfflat", ivfflat=Ivfflat(2000))

    assert Ivfflat.lists_for(rows) == 2000
    assert ann_bytes(chosen, rows) == ann_bytes(named, rows)
    memory = [build_memory(wanted_indexes(one)[0], rows) for one in (chosen, named)]
    assert memory[0] == memory[1]


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
prompts = st.none() | st.text(max_size=20)
specs = st.builds(
    IndexSpec,
    name=names.filter(lambda name: len(name.encode()) <= 63),
    table=names,
    schema=names,
    key=st.lists(
        st.builds(KeyColumn, name=names.map(lambda name: f"k{name}"), type=names), min_size=1
    ).map(tuple),
    text=st.lists(names, min_size=1, unique=True).map(tuple),
    dimensions=st.integers(1, 2000),
    base_url=prompts,
    query_prompt=prompts,
    document_prompt=prompts,
    metric=st.sampled_from(["cosine", "l2", "inner_product"]),
    quantization=st.sampled_from(["none", "halfvec", "bit", "int8"]),
    index=st.sampled_from(["hnsw", "ivfflat", "none"]),
    ivfflat=st.builds(Ivfflat, st.none() | st.integers(1, 1000)),
    hnsw=st.builds(Hnsw, m=st.integers(2, 100), ef_construction=st.integers(200, 1000)),
    lexical=st.none() | names,
    chunking=st.none()
    | st.builds(
        Chunking,
        tokens=st.integers(128),
        overlap=st.integers(0, 64),
        markdown=st.none() | st.booleans(),
    ),
    template=st.none() | st.just("about it: {chunk}"),
    notify=st.booleans(),
)


@given(declared=specs)
def test_json_gives_the_same_declaration_back(declared: IndexSpec) -> None:
    stored = json.loads(json.dumps(declared.to_json()))

    assert IndexSpec.from_json(stored) == declared


def test_a_declaration_stored_before_there_were_templates_is_read() -> None:
    stored = spec().to_json()
    del stored["template"], stored["chunking"]["markdown"]

    assert IndexSpec.from_json(stored) == spec()
