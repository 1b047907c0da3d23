"""A bulk reload while a batch is in hand: its keys are neither logged nor backfilled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from embedsql.changelog import MOST_CRASHES, ChangeLog
from embedsql.errors import TextRejectedError
from embedsql.registry import RegisteredIndex
from tests.everyday import cases
from tests.factories import (
    HandWorker,
    RecordingEmbedder,
    add_index,
    create_article_table,
    drain,
    verify_all,
)

ROWS = 2000  # the first thousand of a transaction are logged, and the keys in hand are others


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    """Fifty old rows, logged."""
    create_article_table(connection)
    made = add_index(connection, text=("body",))
    connection.execute(
        "INSERT INTO article (id, body) SELECT i, 'old ' || i FROM generate_series(1, 50) AS i"
    )
    return made


@pytest.fixture
def hands(database: str, index: RegisteredIndex) -> Iterator[tuple[HandWorker, HandWorker]]:
    first, second = HandWorker(database, index, "first"), HandWorker(database, index, "second")
    yield first, second
    first.close()
    second.close()


def load(connection: psycopg.Connection) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY article (id, body) FROM STDIN") as copy:
        for key in range(ROWS, 0, -1):
            copy.write_row((key, f"new {key}"))


def test_rows_that_were_truncated_and_copied_while_they_were_embedded(
    connection: psycopg.Connection, database: str, hands: tuple[HandWorker, HandWorker]
) -> None:
    first, second = hands
    prepared = first.embed()
    with connection.transaction():
        connection.execute("TRUNCATE article")
        load(connection)
    second.work()
    assert first.write(prepared).saved == 0
    drain(database)

    assert verify_all(database).ok


def test_rows_that_were_copied_while_their_deletion_was_written(
    connection: psycopg.Connection,
    database: str,
    hands: tuple[HandWorker, HandWorker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drain(database)
    connection.execute("DELETE FROM article")
    first, second = hands
    prepared = first.embed()
    chunks = first.ingest._vectors._chunks
    replace = chunks.replace

    def replace_late(*given: Any) -> None:  # what becomes of the rows is decided by then
        load(connection)
        second.work()
        replace(*given)

    monkeypatch.setattr(chunks, "replace", replace_late)
    assert first.write(prepared).gone == 50
    drain(database)

    assert verify_all(database).ok


@pytest.mark.parametrize("backfilled", [False, True])
@pytest.mark.parametrize("begun", cases([False, True], True))
def test_a_text_that_failed_does_not_bury_the_one_that_took_its_place(
    connection: psycopg.Connection, database: str, backfilled: bool, begun: bool
) -> None:
    create_article_table(connection)
    connection.execute("INSERT INTO article (id, body) VALUES (5, 'poison')")
    index = add_index(connection, text=("body",))
    if not backfilled:
        drain(database)
        connection.execute("UPDATE article SET body = 'more poison'")
    worker = HandWorker(
        database, index, embedder=RecordingEmbedder("poison", TextRejectedError("too bad"))
    )
    prepared = worker.ingest.prepare(worker.connection, worker.claim())
    failures = worker.ingest.embed(prepared)
    with connection.transaction():
        connection.execute("TRUNCATE article")
        load(connection)
    if begun:  # and the key is passed by, since it is in hand
        second = HandWorker(database, index, "second")
        second.work()
        second.close()
    worker.ingest.write(worker.connection, prepared, failures)
    worker.close()

    drain(database)

    assert verify_all(database).ok


def test_a_key_that_killed_its_workers_is_tried_with_the_text_that_took_its_place(
    connection: psycopg.Connection, database: str, index: RegisteredIndex
) -> None:
    connection.execute("DELETE FROM article WHERE id <> 5")
    drain(database)
    connection.execute("UPDATE article SET body = 'fatal'")
    log = ChangeLog(index, "a", lease=-1.0)
    for _ in range(MOST_CRASHES):
        assert log.claim(connection, 9) is not None
    with connection.transaction():
        connection.execute("TRUNCATE article")
        load(connection)
    assert log.claim(connection, 9) is not None  # of what was loaded; the key is buried

    drain(database)

    assert verify_all(database).ok
