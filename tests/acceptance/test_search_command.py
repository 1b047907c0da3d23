"""``embedsql search``: what it takes of its own accord, and what it says of that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from embedsql.embedders.hashing import HashEmbedder
from tests.acceptance.conftest import Embedsql
from tests.factories import create_article_table
from tests.unit.embedding_server import Provider, items, serving

ADD = ("add", "article", "--text", "body")


@pytest.fixture
def articles(connection: psycopg.Connection, embedsql: Embedsql) -> Embedsql:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('amber'), ('birch'), ('cedar')")
    return embedsql


@pytest.fixture
def judged(tmp_path: Path) -> tuple[str, ...]:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(json.dumps({"id": "a", "text": "birch"}) + "\n")
    qrels.write_text("a\t2\t1\n")
    return ("eval", "article_search", "--queries", str(queries), "--qrels", str(qrels))


@pytest.fixture
def provider(articles: Embedsql, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """What embedded the articles, and then is out of order, for longer than anybody waits."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    embedder = HashEmbedder("hash:64")
    with serving() as started:
        started.answer = lambda texts: items(embedder.embed_documents(texts).tolist())
        articles.run(*ADD, "--model", "openai:hash", "--base-url", started.url)
        articles.run("worker", "--drain")
        started.always(b"out of order", 503, Retry_After="60")
        yield started


def test_tables_cut_no_names_and_no_keys_whatever_they_are(
    embedsql: Embedsql, connection: psycopg.Connection
) -> None:
    name = "an_index_[/of]_the_longest_name_that_a_table_may_have_in_a_data"
    key = "/a/folder/[/within]/others/" + "a_very_long_name_of_a_file_" * 3 + ":smile:.txt"
    connection.execute("CREATE TABLE file (path text PRIMARY KEY, body text)")
    embedsql.run("add", "file", "--text", "body", "--name", name, "--model", "hash:64")
    connection.execute("INSERT INTO file VALUES (%s, 'birch [/b] [0] and [bold]oak')", [key])

    status = embedsql.run("status").stdout
    found = embedsql.run("search", name, "birch", "--mode", "lexical", "--explain").stdout

    assert name in status
    assert " MB" in status
    assert key in found
    assert "birch [/b] [0] and [bold]oak" in found


def test_an_index_without_words_is_searched_and_judged_by_meaning(
    articles: Embedsql, judged: tuple[str, ...]
) -> None:
    articles.run(*ADD, "--model", "hash:64", "--lexical", "none")
    before = articles.run("search", "article_search", "birch")
    articles.run("worker", "--drain")

    assert before.stderr == (
        "nothing was found; embedsql status says whether rows wait to be embedded\n"
    )
    found = articles.json("search", "article_search", "birch", "-k", "1")

    assert (found["mode"], found["complete"]) == ("dense", True)
    assert [hit["key"] for hit in found["hits"]] == [2]
    assert articles.json(*judged)["mode"] == "dense"
    refused = articles.run("search", "article_search", "birch", "--mode", "hybrid", exit_code=1)
    assert "made without a lexical lane: search it with mode 'dense'" in refused.stderr


def test_words_answer_while_the_provider_fails_and_it_says_so(
    articles: Embedsql, provider: Provider, judged: tuple[str, ...]
) -> None:
    result = articles.run("search", "article_search", "birch", "--explain", "--json")

    assert result.stderr.startswith("embedsql: searched for words only: the embedding server")
    assert result.stderr.count("\n") == 1
    found = json.loads(result.stdout)
    assert (found["mode"], found["strategy"], found["complete"]) == ("hybrid", "lexical", False)
    assert "503" in found["words_only"]
    assert [(hit["key"], hit["dense"]) for hit in found["hits"]] == [(2, None)]
    for mode in ("hybrid", "dense"):
        refused = articles.run("search", "article_search", "birch", "--mode", mode, exit_code=1)
        assert "503" in refused.stderr
    # what is judged is never less than what was to be judged
    assert "503" in articles.run(*judged, exit_code=1).stderr
