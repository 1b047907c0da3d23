"""Vectors in a column of the source come and go with their rows, whatever is stored of the key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from embedsql.changelog import MOST_CRASHES, ChangeLog
from embedsql.database import connect
from embedsql.embedders.hashing import HashEmbedder
from embedsql.errors import TextRejectedError
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex
from embedsql.verify import verify_index
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
    take_log,
    verify_all,
)

REFUSE = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.id = 1 THEN RAISE EXCEPTION 'this row is not to be touched'; END IF;
    RETURN NEW;
END $$"""

REPLACED = {
    "deleted and inserted": [
        "DELETE FROM article WHERE id = 1",
        "INSERT INTO article (id, body) VALUES (1, 'one')",
    ],
    "another row with its key and text": [
        "DELETE FROM article WHERE id = 1",
        "UPDATE article SET id = 1, body = 'one' WHERE id = 2",
    ],
}


@pytest.fixture
def index(connection: psycopg.Connection, database: str) -> RegisteredIndex:
    create_article_table(connection)
    made = add_index(connection, text=("body",), storage="column", chunking=None)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'one'), (2, 'two')")
    drain(database)
    return made


@pytest.mark.parametrize("replaced", REPLACED.values(), ids=list(REPLACED))
def test_a_row_that_takes_the_place_of_one_that_said_the_same_has_its_vector(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, replaced: list[str]
) -> None:
    with connection.transaction():
        for statement in replaced:
            connection.execute(statement.encode())

    drain(database)

    (vector,) = HashEmbedder("hash:64").embed_documents(["one"])
    found = connection.execute(
        "SELECT embedding <-> %s::vector < 0.001 FROM article WHERE id = 1", [str(vector.tolist())]
    )
    assert found.fetchall() == [(True,)]
    assert verify_all(database).ok


def guard(connection: psycopg.Connection) -> None:
    """Let the application refuse every change of the first row."""
    connection.execute(REFUSE)
    connection.execute(
        "CREATE TRIGGER guard BEFORE UPDATE ON article FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


@pytest.mark.exhaustive  # until it has been tried again often enough
def test_a_row_that_a_trigger_of_the_source_guards_stops_no_other(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("UPDATE article SET body = body || ' more'")
    guard(connection)
    report = drain(database)

    assert report.problems == {}
    assert connection.execute("SELECT key FROM embedsql.dead_letter").fetchall() == [(1,)]
    assert connection.execute("SELECT chunk FROM article_search WHERE id = 2").fetchall() == [
        ("two more",)
    ]


def test_a_key_is_buried_whose_row_a_trigger_of_the_source_guards(
    connection: psycopg.Connection, index: RegisteredIndex
) -> None:
    connection.execute("UPDATE article SET body = 'fatal' WHERE id = 1")
    guard(connection)
    log = ChangeLog(index, "a", lease=-1.0)
    for _ in range(MOST_CRASHES + 1):
        log.claim(connection, 1)

    assert connection.execute("SELECT key FROM embedsql.dead_letter").fetchall() == [(1,)]
    assert connection.execute("SELECT id FROM article_search").fetchall() == [(2,)]


def chunks(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT chunk, embedding IS NOT NULL FROM article_search WHERE id = 1"
    ).fetchall()


@pytest.mark.parametrize("text", ["three", None])
def test_a_row_that_another_transaction_holds_is_found_by_the_words_it_has(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, text: str | None
) -> None:
    connection.execute("UPDATE article SET body = %s WHERE id = 1", [text])
    worker = HandWorker(database, index)
    with connect(database) as other, other.transaction():
        other.execute("UPDATE article SET tenant_id = 2 WHERE id = 1")
        worker.work()
        with RegisteredSearch(database, "article_search") as opened:
            for word, found in (("one", []), ("three", [1] if text else [])):
                assert [key for key, _ in opened.search(word, mode="lexical").hits] == found
    worker.close()
    drain(database)

    assert chunks(connection) == ([(text, True)] if text else [])
    assert verify_all(database).ok


def test_what_was_held_and_is_refused_then_has_no_vector_of_an_earlier_text(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("UPDATE article SET body = 'poison' WHERE id = 1")
    worker = HandWorker(database, index)
    with connect(database) as other, other.transaction():
        other.execute("UPDATE article SET tenant_id = 2 WHERE id = 1")
        worker.work()
    connection.execute("UPDATE embedsql.failure SET next_attempt_at = now()")
    worker.embedder.poison = "poison"

    worker.work()
    worker.close()

    assert chunks(connection) == [("poison", False)]


def test_an_application_does_not_wait_for_a_worker_that_waits(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("UPDATE article SET body = body || ' more'")
    worker = HandWorker(database, index)
    prepared = worker.embed()
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"
    with connect(database) as other, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            other.execute("LOCK TABLE embedsql.article_search_chunk_1 IN ACCESS EXCLUSIVE MODE")
            written = pool.submit(worker.write, prepared)
            pid = worker.connection.info.backend_pid
            while not (written.done() or connection.execute(waiting, [pid]).rowcount):
                pass
            connection.execute("SET lock_timeout = '1s'")
            connection.execute("UPDATE article SET tenant_id = 2")
        written.result()
    worker.close()
    drain(database)

    assert verify_all(database).ok


@pytest.mark.parametrize("options", [{}, {"quantization": "halfvec"}], ids=["vector", "halfvec"])
def test_a_vector_that_the_application_wrote_is_found_and_mended(
    connection: psycopg.Connection, database: str, options: dict[str, Any]
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (id, body) VALUES (1, 'one'), (2, 'two'), (3, NULL)")
    made = add_index(connection, text=("body",), storage="column", chunking=None, **options)
    drain(database)
    embedded = "SELECT id, embedding::text FROM article WHERE id < 3 ORDER BY id"
    vectors = connection.execute(embedded).fetchall()
    reverse = (
        "UPDATE article SET embedding = (SELECT array_agg(-x) FROM unnest(embedding::real[]) x)"
    )

    for change, expected in (
        ("UPDATE article SET embedding = NULL WHERE id = 1", (1, 0)),
        ("UPDATE article SET embedding = (SELECT embedding FROM article WHERE id = 2)", (0, 1)),
        (f"{reverse} WHERE id < 3", (0, 2)),
    ):
        connection.execute(change.encode())
        assert take_log(connection, made) == []
        found = verify_index(connection, made, repair=True)
        assert (found.missing, found.stale, found.repaired) == (*expected, sum(expected))
        drain(database)
        assert verify_all(database).ok
        assert connection.execute(embedded).fetchall() == vectors


class Unsteady(RecordingEmbedder):
    """Gives a text another vector each time, as a model does whose batch is another."""

    def embed_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return super().embed_documents(texts) * np.float32(self.runs)


def test_a_vector_that_a_worker_wrote_over_its_own_is_its_own(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    worker = HandWorker(database, index, embedder=Unsteady())
    before = "SELECT embedding::text FROM article ORDER BY id"
    found = []
    for _ in range(2):
        connection.execute(
            "UPDATE article SET body = body || ' '; UPDATE article SET body = trim(body)"
        )
        worker.work()
        found.append(connection.execute(before).fetchall())
        assert verify_all(database).ok
    worker.close()

    assert found[0] != found[1]


def bury(connection: psycopg.Connection, index: RegisteredIndex, database: str) -> None:
    log = ChangeLog(index, "a", lease=-1.0)
    while log.claim(connection, 1):
        pass


def refuse(connection: psycopg.Connection, index: RegisteredIndex, database: str) -> None:
    worker = HandWorker(
        database, index, embedder=RecordingEmbedder("one", TextRejectedError("the model refuses"))
    )
    worker.work()
    worker.close()


@pytest.mark.parametrize("failing", [bury, refuse])
def test_a_row_that_moved_to_the_key_of_one_that_said_the_same_loses_the_vector_it_had(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    failing: Callable[[psycopg.Connection, RegisteredIndex, str], None],
) -> None:
    for statement in REPLACED["another row with its key and text"]:
        connection.execute(statement.encode())

    failing(connection, index, database)

    assert connection.execute("SELECT key FROM embedsql.dead_letter").fetchall() == [(1,)]
    assert connection.execute("SELECT id, embedding FROM article").fetchall() == [(1, None)]
    assert connection.execute("SELECT id, chunk FROM article_search").fetchall() == [(1, "one")]
