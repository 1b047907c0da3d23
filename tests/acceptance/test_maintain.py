"""``reindex`` and ``prewarm``, and the options of ``add`` that choose how vectors are kept."""

from __future__ import annotations

import psycopg
import pytest

from tests.acceptance.conftest import Embedsql
from tests.everyday import cases
from tests.factories import create_article_table

ADD = ("add", "article", "--text", "body")


@pytest.fixture
def article(connection: psycopg.Connection, embedsql: Embedsql) -> Embedsql:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (body) SELECT 'text number ' || n FROM generate_series(1, 50) AS n"
    )
    return embedsql


def definition(connection: psycopg.Connection) -> str:
    rows = connection.execute(
        "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index AS i JOIN pg_class AS c "
        "ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam "
        "WHERE a.amname IN ('hnsw', 'ivfflat') AND i.indisvalid"
    ).fetchall()
    assert len(rows) == 1
    return str(rows[0][0])


FORMS: list[tuple[tuple[str, ...], str]] = [
    (("--model", "hash:4096", "--quantization", "bit"), "bit(4096)) bit_hamming_ops"),
    (("--model", "hash:2560", "--quantization", "halfvec"), "(embedding halfvec_cosine_ops)"),
    (("--model", "hash:4096", "--quantization", "int8"), "(bits bit_hamming_ops)"),
    (("--model", "hash:4096", "--index-dimensions", "256"), "vector(256)) vector_cosine_ops"),
    (
        ("--model", "hash:64", "--index", "ivfflat", "--lists", "3"),
        "ivfflat (embedding vector_cosine_ops) WITH (lists='3')",
    ),
    (
        ("--model", "hash:64", "--storage", "column", "--hnsw-m", "8"),
        "ON public.article USING hnsw (embedding vector_cosine_ops) WITH (m='8'",
    ),
]


@pytest.mark.parametrize("form", cases(FORMS, FORMS[5]), ids=str)
@pytest.mark.exhaustive
def test_a_form_is_added_filled_searched_and_built_anew(
    article: Embedsql, connection: psycopg.Connection, form: tuple[tuple[str, ...], str]
) -> None:
    options, defined = form
    article.run(*ADD, *options)
    article.run("worker", "--drain")
    assert defined in definition(connection)
    article.run("reindex", "article_search")
    assert defined in definition(connection)
    hits = article.json("search", "article_search", "text number 7", "-k", "50", "--mode", "dense")
    assert len(hits["hits"]) == 50
    assert hits["hits"][0]["key"] == 7
    assert article.json("verify")["ok"]
    assert "MB in memory" in article.run("prewarm", "article_search").stderr
    article.run("drop", "article_search")
    left = connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'article_search%'")
    assert left.fetchone() == (0,)


def test_ivfflat_waits_for_rows(embedsql: Embedsql, connection: psycopg.Connection) -> None:
    create_article_table(connection)
    embedsql.run(*ADD, "--model", "hash:64", "--index", "ivfflat")
    said = embedsql.run("worker", "--drain").stderr
    assert "waits for them" in said
    connection.execute("INSERT INTO article (body) VALUES ('first')")
    embedsql.run("worker", "--drain")
    assert "lists='1'" in definition(connection)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "hash:4096"), "at most 2000 dimensions"),
        (("--model", "hash:64", "--index-dimensions", "64"), "fewer than the 64"),
        (("--model", "hash:64", "--storage", "column", "--vector-column", "title"), "holds text"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    article: Embedsql, connection: psycopg.Connection, options: tuple[str, ...], said: str
) -> None:
    assert said in article.run(*ADD, *options, exit_code=1).stderr
    left = connection.execute("SELECT count(*) FROM embedsql.semantic_index").fetchone()
    assert left == (0,)


def test_reindex_without_an_approximate_index_is_refused(article: Embedsql) -> None:
    article.run(*ADD, "--model", "hash:64", "--index", "none")
    said = article.run("reindex", "article_search", exit_code=1).stderr
    assert "without an approximate index" in said
