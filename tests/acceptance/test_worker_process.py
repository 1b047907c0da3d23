"""Workers as processes: live changes, SIGTERM, SIGKILL."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable

import psycopg
import pytest

from tests.acceptance.conftest import Embedsql
from tests.factories import create_article_table, verify_all


def eventually(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


def finish(worker: subprocess.Popen[str], exit_code: int) -> str:
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == exit_code, said
    return said


@pytest.fixture
def article(connection: psycopg.Connection, embedsql: Embedsql) -> Embedsql:
    create_article_table(connection)
    return embedsql


def test_vectors_follow_live_changes(article: Embedsql, connection: psycopg.Connection) -> None:
    article.run("add", "article", "--text", "body", "--model", "hash:64")
    worker = article.start("worker")

    def chunks() -> list[tuple[int, str]]:
        return connection.execute("SELECT id, chunk FROM article_search ORDER BY id").fetchall()

    steps = [
        ("INSERT INTO article (id, body) VALUES (1, 'one'), (2, 'two')", [(1, "one"), (2, "two")]),
        ("UPDATE article SET body = 'more' WHERE id = 2", [(1, "one"), (2, "more")]),
        ("UPDATE article SET id = 3 WHERE id = 1", [(2, "more"), (3, "one")]),
        ("DELETE FROM article WHERE id = 2", [(3, "one")]),
        ("UPDATE article SET body = '' WHERE id = 3", []),
        ("INSERT INTO article (id, body) VALUES (4, 'four')", [(4, "four")]),
        ("TRUNCATE article", []),
    ]
    for change, expected in steps:
        connection.execute(change)
        eventually(lambda expected=expected: chunks() == expected)  # type: ignore[misc]
        eventually(lambda: verify_all(article.url).ok)
    article.run("wait", "article_search", "--timeout", "20")
    assert article.json("verify")["ok"]
    worker.send_signal(signal.SIGTERM)
    finish(worker, 0)


def test_sigterm_finishes_the_batch_and_leaves_no_lease(
    article: Embedsql, connection: psycopg.Connection, slow_endpoint: Callable[[float], str]
) -> None:
    connection.execute(
        "INSERT INTO article (body) SELECT 'text ' || n FROM generate_series(1, 200) n"
    )
    article.run(
        "add",
        "article",
        "--text",
        "body",
        "--model",
        "openai:slow",
        "--base-url",
        slow_endpoint(0.5),
    )
    worker = article.start("worker", "--batch-size", "20")
    eventually(lambda: article_count(connection) > 0)
    worker.send_signal(signal.SIGTERM)
    finish(worker, 0)
    status = article.json("status")["indexes"][0]
    assert status["leased"] == 0
    assert 0 < status["chunks"] < 200
    assert status["chunks"] + status["pending"] == 200


def test_sigkill_in_the_middle_of_a_batch_loses_nothing(
    article: Embedsql, connection: psycopg.Connection, slow_endpoint: Callable[[float], str]
) -> None:
    connection.execute(
        "INSERT INTO article (body) SELECT 'text ' || n FROM generate_series(1, 100) n"
    )
    article.run(
        "add",
        "article",
        "--text",
        "body",
        "--model",
        "openai:slow",
        "--base-url",
        slow_endpoint(0.3),
    )
    worker = article.start("worker", "--batch-size", "40")
    eventually(lambda: article_count(connection) > 0 and leased(connection) > 0)
    worker.kill()
    finish(worker, -signal.SIGKILL)
    assert article.json("verify", exit_code=3)["missing"] > 0
    # what the lease would do in 30 s
    connection.execute(
        "UPDATE embedsql.article_search_batch SET leased_until = now() - interval '1 s'"
    )
    connection.execute("UPDATE article SET body = body || ' again' WHERE id % 10 = 0")
    article.run("worker", "--drain")
    assert article.json("verify")["ok"]
    assert article_count(connection) == 100


def test_broken_configuration_stops_one_index_and_not_the_others(
    article: Embedsql, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO article (body) VALUES ('amber')")
    article.run("add", "article", "--text", "body", "--model", "hash:64", "--name", "good")
    article.run("add", "article", "--text", "body", "--model", "hash:64", "--name", "bad")
    connection.execute(
        "UPDATE embedsql.semantic_index SET space = 'another space' WHERE name = 'bad'"
    )
    result = article.run("worker", "--drain", exit_code=1)
    assert "another space" in result.stderr
    indexes = {index["index"]: index for index in article.json("status")["indexes"]}
    assert indexes["good"]["chunks"] == 1
    assert indexes["bad"]["chunks"] == 0
    assert "another space" in indexes["bad"]["problem"]


def article_count(connection: psycopg.Connection) -> int:
    found = connection.execute("SELECT count(*) FROM article_search").fetchone()
    return 0 if found is None else int(found[0])


def leased(connection: psycopg.Connection) -> int:
    found = connection.execute("SELECT count(*) FROM embedsql.article_search_batch").fetchone()
    return 0 if found is None else int(found[0])
