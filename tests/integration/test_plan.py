"""What ``plan`` predicts, against what is there once the index has been made and filled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from embedsql.embedders.hashing import HashEmbedder
from embedsql.plan import Plan, make_plan
from embedsql.plan.sizes import ann_bytes
from embedsql.registry import find_index
from embedsql.vectors import Hnsw
from tests.acceptance.conftest import Embedsql
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain

ROWS = 800


def fill(connection: psycopg.Connection) -> None:
    """Articles of this project's own words, from one sentence to many chunks; some are blank."""
    create_article_table(connection)
    random = np.random.default_rng(3)
    words = Path(__file__).parents[2].joinpath("README.md").read_text().split()
    with connection.cursor().copy("COPY article (title, body) FROM STDIN") as copy:
        for number in range(ROWS):
            length = int(random.gamma(1.5, 60)) + 5
            body = " ".join(random.choice(words, length)) if number % 20 else None
            copy.write_row([f"number {number}" if body else None, body])


def tables(connection: psycopg.Connection, *names: str) -> int:
    """Bytes of tables with what they keep out of line."""
    row = connection.execute(
        "SELECT sum(pg_relation_size(c.oid)"
        " + coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0)) "
        "FROM unnest(%s::text[]) AS t (name) JOIN pg_class AS c ON c.oid = name::regclass",
        [[f"embedsql.{name}" for name in names]],
    ).fetchone()
    return int(row[0]) if row else 0


FORMS: dict[str, dict[str, Any]] = {
    "full": {},
    "halfvec": {"quantization": "halfvec"},
    "bit": {"quantization": "bit"},
    "int8": {"quantization": "int8"},
    "wide": {"model": "hash:1536", "dimensions": 1536},
    "ivfflat": {"index": "ivfflat"},
    "many links": {"hnsw": Hnsw(32, 100)},
}


@pytest.mark.parametrize("form", cases(FORMS))
def test_what_is_predicted_comes_true(
    connection: psycopg.Connection, database: str, form: str
) -> None:
    fill(connection)
    options = {"model": "hash:384", "dimensions": 384, **FORMS[form]}
    index = add_index(connection, **options)
    spec = index.spec

    plan = make_plan(connection, spec, HashEmbedder(spec.model))

    assert connection.execute("SELECT to_regclass('pg_temp.embedsql_trial')").fetchone() == (None,)
    drain(database)
    row = connection.execute("SELECT count(*) FROM article_search").fetchone()
    assert row is not None
    assert plan.rows == ROWS
    assert 400 < plan.sampled < 600
    assert plan.chunks == pytest.approx(row[0], rel=0.15)
    assert plan.blank == pytest.approx(ROWS / 20, rel=0.6)
    assert plan.rows_per_second is not None
    assert plan.rows_per_second > 0
    (declared,) = [one for one in plan.variants if one.declared]
    heap = tables(connection, index.names.chunk, index.names.row)
    scale = row[0] / plan.chunks  # what the sample missed is judged above
    assert declared.heap_bytes * scale == pytest.approx(heap, rel=0.1)
    ann = tables(connection, index.names.vector_index)
    assert ann_bytes(spec, row[0]) == pytest.approx(ann, rel=0.1)


@pytest.mark.exhaustive
def test_variants_are_compared_and_what_cannot_be_says_why(
    connection: psycopg.Connection,
) -> None:
    fill(connection)
    index = add_index(connection, model="hash:3000", dimensions=3000, quantization="halfvec")
    plan = make_plan(connection, index.spec, HashEmbedder("hash:3000"), sample=50)
    found = {one.quantization: one for one in plan.variants}
    assert "at most 2000 dimensions" in (found["none"].impossible or "")
    assert found["none"].total_bytes == 0
    assert [one.quantization for one in plan.variants if one.declared] == ["halfvec"]
    assert found["int8"].heap_bytes < found["halfvec"].heap_bytes < found["bit"].heap_bytes
    assert found["bit"].index_bytes == found["int8"].index_bytes < found["halfvec"].index_bytes / 5
    assert 0 < found["bit"].build_memory_bytes < found["halfvec"].build_memory_bytes


def run(database: str, *arguments: str) -> Any:
    said = Embedsql(database).run("plan", *arguments, "--sample", "100").stdout
    return json.loads(said) if "--json" in arguments else said


@pytest.mark.exhaustive
def test_a_plan_is_made_before_anything_is_installed(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        fill(connection)
        document = run(
            empty_database,
            *("article", "--text", "title", "--text", "body", "--model", "hash:64", "--json"),
        )
        assert connection.execute("SELECT to_regnamespace('embedsql')").fetchone() == (None,)
    assert (document["table"], document["rows"], document["dimensions"]) == ("article", ROWS, 64)
    assert document["chunks"] > ROWS
    assert document["tokens"] > document["chunks"]
    assert document["minutes"] > 0
    assert [one["quantization"] for one in document["variants"]] == [
        *("none", "halfvec", "bit", "int8")
    ]
    assert {"heap_bytes", "index_bytes", "total_bytes", "build_memory_bytes"} <= set(
        document["variants"][0]
    )
    text = run(empty_database, "article", "--text", "body", "--model", "hash:64")
    assert f"{ROWS:,} rows" in text


@pytest.mark.exhaustive
def test_the_minutes_of_an_endpoint_are_unknown_unless_said(
    connection: psycopg.Connection, database: str
) -> None:
    fill(connection)
    asked = ["article", "--text", "body", "--model", "openai:any", "--dimensions", "256"]
    asked += ["--base-url", "http://127.0.0.1:9/v1", "--json"]
    assert run(database, *asked)["minutes"] is None
    assert run(database, *asked, "--rows-per-second", "10")["minutes"] == ROWS / 10 / 60


@pytest.mark.exhaustive
def test_a_plan_of_an_index_is_of_embedding_it_anew(
    connection: psycopg.Connection, database: str
) -> None:
    fill(connection)
    add_index(connection)
    assert find_index(connection, "article_search").spec.dimensions == 64
    assert run(database, "article_search", "--json")["dimensions"] == 64
    assert run(database, "article_search", "--model", "hash:128", "--json")["dimensions"] == 128


def test_an_empty_table_costs_nothing(connection: psycopg.Connection) -> None:
    create_article_table(connection)
    index = add_index(connection)
    plan: Plan = make_plan(connection, index.spec, HashEmbedder("hash:64"))
    assert (plan.rows, plan.chunks, plan.tokens, plan.minutes) == (0, 0, 0, None)
    assert {one.total_bytes for one in plan.variants} == {0}
