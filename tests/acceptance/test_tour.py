"""The whole job through the command line, as a newcomer does it."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import Embedsql
from tests.factories import create_article_table


@pytest.fixture
def filled(connection: psycopg.Connection, embedsql: Embedsql) -> Embedsql:
    create_article_table(connection)
    connection.execute(
        "INSERT INTO article (title, body) VALUES ('Rust', 'iron oxide on wet metal'), "
        "('Bread', 'flour water salt'), ('Empty', NULL), (NULL, ' ')"
    )
    embedsql.run("add", "article", "--text", "title", "--text", "body", "--model", "hash:64")
    return embedsql


def test_add_enqueues_and_drain_embeds(filled: Embedsql, connection: psycopg.Connection) -> None:
    before = filled.json("status")["indexes"][0]
    assert (before["index"], before["rows"], before["pending"]) == ("article_search", 4, 4)
    assert before["oldest_pending_seconds"] >= 0
    assert filled.json("verify", exit_code=3)["missing"] == 3

    filled.run("worker", "--drain")

    after = filled.json("status")["indexes"][0]
    assert {
        name: after[name] for name in ("rows", "chunks", "pending", "leased", "dead", "blank")
    } == {
        "rows": 4,
        "chunks": 3,
        "pending": 0,
        "leased": 0,
        "dead": 0,
        "blank": 1,
    }
    assert after["oldest_pending_seconds"] is None
    assert after["bytes"] > 0
    assert filled.json("verify") == {
        "ok": True,
        "missing": 0,
        "stale": 0,
        "orphans": 0,
        "pending": 0,
        "dead": 0,
        "repaired": 0,
        "problems": {},
    }
    rows = connection.execute("SELECT id, chunk_seq, chunk, embedding FROM article_search")
    assert [column.name for column in rows.description or ()] == [
        "id",
        "chunk_seq",
        "chunk",
        "embedding",
    ]


def test_search_prints_the_documented_json(filled: Embedsql) -> None:
    filled.run("worker", "--drain")
    found = filled.json("search", "article_search", "flour and water", "-k", "2")
    assert set(found) >= {"index", "query", "mode", "strategy", "complete", "hits"}
    best = found["hits"][0]
    assert set(best) >= {"key", "score", "dense", "lexical", "snippet"}
    assert (best["key"], best["dense"]["rank"], best["lexical"]["rank"]) == (2, 1, 1)
    assert best["snippet"] == "Bread\n\nflour water salt"
    assert (
        filled.json("search", "article_search", "iron", "--mode", "dense")["hits"][0]["lexical"]
        is None
    )
    only = filled.json("search", "article_search", "flour", "--where", "title = 'Rust'")
    assert [hit["key"] for hit in only["hits"]] == [1]
    assert "flour water salt" in filled.run("search", "article_search", "flour").stdout


def test_verify_finds_and_repairs(filled: Embedsql, connection: psycopg.Connection) -> None:
    filled.run("worker", "--drain")
    for change in (
        "UPDATE article SET body = 'changed behind its back' WHERE id = 1",
        "DELETE FROM article WHERE id = 2",
        "INSERT INTO article (id, body) VALUES (99, 'unseen')",
    ):
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(change)
    found = filled.json("verify", exit_code=3)
    assert (found["missing"], found["stale"], found["orphans"]) == (1, 1, 1)
    assert filled.json("verify", "--repair", exit_code=3)["repaired"] == 3
    filled.run("worker", "--drain")
    assert filled.json("verify")["ok"]


def test_eval_judges(filled: Embedsql, tmp_path: Path) -> None:
    filled.run("worker", "--drain")
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(
        "".join(
            json.dumps({"id": id_, "text": text}) + "\n"
            for id_, text in (("a", "iron oxide"), ("b", "flour"), ("unjudged", "x"))
        )
    )
    qrels.write_text("query_id\tdoc_id\trelevance\na\t1\t1\nb\t2\t2\nb\t1\t0\n")
    arguments = ("eval", "article_search", "--queries", str(queries), "--qrels", str(qrels))
    for mode in ("dense", "lexical", "hybrid"):
        result = filled.json(*arguments, "--mode", mode)
        assert (result["index"], result["mode"], result["queries"]) == ("article_search", mode, 2)
        assert result["ndcg@10"] == result["recall@100"] == result["mrr@10"] == 1
        assert result["latency_ms"]["p95"] >= result["latency_ms"]["p50"] > 0


def test_drop_and_uninstall_leave_nothing(filled: Embedsql, connection: psycopg.Connection) -> None:
    filled.run("drop", "article_search")
    left = connection.execute(
        "SELECT relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace "
        "WHERE relname LIKE 'article_search%' OR (nspname = 'embedsql' AND relname ~ 'article') "
        "UNION SELECT tgname FROM pg_trigger WHERE NOT tgisinternal "
        "UNION SELECT proname FROM pg_proc WHERE proname LIKE 'article%'"
    ).fetchall()
    assert left == []
    filled.run("uninstall")
    filled.run("uninstall")
    assert connection.execute("SELECT to_regnamespace('embedsql')").fetchone() == (None,)
    assert connection.execute("SELECT count(*) FROM article").fetchone() == (4,)
    filled.run("install")
    filled.run("install")


@pytest.mark.exhaustive
def test_printed_sql_makes_the_same_index(
    embedsql: Embedsql, connection: psycopg.Connection
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (body) VALUES ('amber')")
    arguments = ("add", "article", "--text", "body", "--model", "hash:64")
    printed = embedsql.run(*arguments, "--sql").stdout
    assert embedsql.json("status")["indexes"] == []
    connection.execute(printed.encode())
    embedsql.run("worker", "--drain")
    assert embedsql.json("verify")["ok"]
    assert embedsql.json("search", "article_search", "amber")["hits"][0]["key"] == 1
    connection.execute(embedsql.run("drop", "article_search", "--sql").stdout.encode())
    assert embedsql.json("status")["indexes"] == []


def test_dead_letters_are_listed_retried_and_dropped(
    filled: Embedsql, connection: psycopg.Connection
) -> None:
    filled.run("worker", "--drain")
    connection.execute(
        "INSERT INTO embedsql.failure (index_id, key, version, attempts, dead, error_class, error) "
        "SELECT index_id, '1', 1, 5, true, 'TextRejectedError', 'no' FROM embedsql.semantic_index"
    )
    assert filled.json("verify", exit_code=3)["dead"] == 1
    filled.run("worker", "--drain", exit_code=3)
    assert filled.json("dead", "list")["dead"][0]["key"] == 1
    filled.run("dead", "retry")
    filled.run("worker", "--drain")
    assert filled.json("dead", "list")["dead"] == []
    filled.run("requeue", "article_search", "--where", "id = 2")
    assert filled.json("status")["indexes"][0]["pending"] == 1
    filled.run("wait", "article_search", "--timeout", "0.2", exit_code=1)
    filled.run("worker", "--drain")
    filled.run("wait", "article_search", "--timeout", "1")
