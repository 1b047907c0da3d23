"""What keeps rows from being embedded is said by ``status`` and the doctor, and for no longer."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from typer.testing import CliRunner

from embedsql.cli import app
from embedsql.declare import drop_index
from embedsql.doctor import diagnose
from embedsql.embedders.hashing import HashEmbedder
from embedsql.errors import DeclarationError
from embedsql.registry import RegisteredIndex, find_index, set_problem
from embedsql.status import index_status
from embedsql.worker import Worker, WorkerOptions
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain, until
from tests.unit.embedding_server import Answer, Provider, items, serving

# what another release, or a hand, may have left in the registry
UNREADABLE = [
    'declaration || \'{"chunking": "no"}\'',
    "declaration || '{\"an_option_of_a_later_release\": 1}'",
    'declaration || \'{"metric": "hamming"}\'',
    "declaration - 'key'",
    "'[]'",
]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as started:
        yield started


def problem(connection: psycopg.Connection) -> str | None:
    (found,) = index_status(connection)
    return found.problem


def test_an_outage_is_seen_until_the_provider_answers_again(
    connection: psycopg.Connection, database: str, provider: Provider
) -> None:
    create_article_table(connection)
    embedder = HashEmbedder("hash:64")
    working = False

    def answer(texts: list[str]) -> Answer:
        if not working:
            return Answer({"error": "out of service … “sorry”"}, 503, {"Retry-After": "6"})
        return items(embedder.embed_documents(texts).tolist())

    provider.answer = answer
    add_index(connection, model="openai:small", base_url=provider.url)
    connection.execute("INSERT INTO article (title) VALUES ('a'), ('b')")
    worker = Worker(database, WorkerOptions(queries=False))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        until(lambda: "waiting for the provider" in (problem(connection) or ""))
        assert "503" in (problem(connection) or "")
        (finding,) = [one for one in diagnose(connection) if "provider" in one.finding]
        assert finding.severity == "error"

        working = True

        until(lambda: worker.report.saved == 2)
        until(lambda: problem(connection) is None)
    finally:
        worker.stop()
        thread.join()


def test_a_worker_that_can_takes_back_what_one_that_could_not_has_said(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    index = add_index(connection)
    worker = Worker(database, WorkerOptions(queries=False, poll_interval=0.1))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        connection.execute("INSERT INTO article (title) VALUES ('a')")
        until(lambda: worker.report.saved == 1)

        set_problem(connection, index.index_id, "another worker has no API key")

        until(lambda: problem(connection) is None)
    finally:
        worker.stop()
        thread.join()


def make_unreadable(connection: psycopg.Connection, index: RegisteredIndex, written: str) -> None:
    connection.execute(
        f"UPDATE embedsql.semantic_index SET declaration = {written} WHERE index_id = %s".encode(),
        [index.index_id],
    )


@pytest.mark.parametrize("written", cases(UNREADABLE, *UNREADABLE[:2]))
def test_what_another_release_declared_stops_no_other_index(
    connection: psycopg.Connection, database: str, written: str
) -> None:
    create_article_table(connection)
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    note = add_index(connection, "note", text=("body",))
    add_index(connection)
    make_unreadable(connection, note, written)
    connection.execute("INSERT INTO article (title) VALUES ('a')")
    connection.execute("INSERT INTO note VALUES (1, 'kept for whoever can')")

    report = drain(database)

    assert report.saved == 1
    assert "not one of this release" in report.problems["note_search"]
    assert connection.execute("SELECT FROM embedsql.note_search_log").rowcount == 1
    with pytest.raises(DeclarationError, match=r"'note_search' cannot be used: .* this release"):
        find_index(connection, "note_search")
    (finding,) = [one for one in diagnose(connection) if one.index == "note_search"]
    assert finding.severity == "error"
    verified = CliRunner().invoke(app, ["verify", "--database-url", database])
    assert verified.exit_code == 3
    assert "article_search: all rows agree" in verified.stdout
    assert "its declaration is not one of this release" in verified.stdout


def test_an_index_that_can_be_read_again_is_worked_on(
    connection: psycopg.Connection, database: str
) -> None:
    create_article_table(connection)
    index = add_index(connection)
    connection.execute("INSERT INTO article (title) VALUES ('a')")
    make_unreadable(connection, index, "declaration || '{\"later\": 1}'")
    drain(database)

    make_unreadable(connection, index, "declaration - 'later'")

    assert drain(database).saved == 1
    assert problem(connection) is None
    drop_index(connection, "article_search")
