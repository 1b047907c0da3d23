"""What happens to a row between its claim and its write, step by step.

Whatever it is: no outdated vector is written, no deleted row comes back, no change is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from embedsql.changelog import ChangeLog
from embedsql.errors import LeaseLostError
from embedsql.registry import RegisteredIndex
from embedsql.store import Outcome
from tests.factories import (
    HandWorker,
    add_index,
    create_article_table,
    stored_chunks,
    verify_all,
)

VERSION = "SELECT key_1, version FROM embedsql.article_search_row_1"


@pytest.fixture
def index(connection: psycopg.Connection) -> RegisteredIndex:
    """An index on one article, 1, whose text is 'old'."""
    create_article_table(connection)
    connection.execute("INSERT INTO article (id, title) VALUES (1, 'old')")
    return add_index(connection, text=("title",))


@pytest.fixture
def worker(database: str, index: RegisteredIndex) -> Iterator[HandWorker]:
    made = HandWorker(database, index)
    yield made
    made.close()


@pytest.fixture
def slow(database: str, index: RegisteredIndex) -> Iterator[HandWorker]:
    """A worker whose leases run out at once."""
    made = HandWorker(database, index, "slow", lease=-1)
    yield made
    made.close()


SAVED, GONE, CHANGED = Outcome(1, 0, 0, 0), Outcome(0, 1, 0, 0), Outcome(0, 0, 1, 0)

# what happens between claim and write: what the write does, what a worker makes of it in the end
MEANWHILE: dict[str, tuple[Outcome, list[tuple[int, str]]]] = {
    "UPDATE article SET title = 'new'": (CHANGED, [(1, "new")]),
    "UPDATE article SET title = NULL": (CHANGED, []),
    "UPDATE article SET tenant_id = 2": (SAVED, [(1, "old")]),
    "UPDATE article SET title = 'new'; UPDATE article SET title = 'old'": (SAVED, [(1, "old")]),
    "DELETE FROM article": (GONE, []),
    "DELETE FROM article; INSERT INTO article (id, title) VALUES (1, 'new')": (
        CHANGED,
        [(1, "new")],
    ),
    "DELETE FROM article; INSERT INTO article (id, title) VALUES (1, 'old')": (
        SAVED,
        [(1, "old")],
    ),
    "UPDATE article SET id = 2": (GONE, [(2, "old")]),
    "UPDATE article SET id = 2; INSERT INTO article (id, title) VALUES (1, 'new')": (
        CHANGED,
        [(1, "new"), (2, "old")],
    ),
    "TRUNCATE article": (GONE, []),
    "TRUNCATE article; INSERT INTO article (id, title) VALUES (1, 'new')": (CHANGED, [(1, "new")]),
    "TRUNCATE article; INSERT INTO article (id, title) VALUES (1, 'old')": (SAVED, [(1, "old")]),
}


@pytest.mark.parametrize("stored_before", [False, True])
def test_a_row_that_changes_while_it_is_embedded(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    worker: HandWorker,
    stored_before: bool,
) -> None:
    found = {}
    for meanwhile, (outcome, _) in MEANWHILE.items():
        connection.execute("TRUNCATE article; INSERT INTO article (id, title) VALUES (1, 'older')")
        if stored_before:
            worker.work()
        connection.execute("UPDATE article SET title = 'old'")
        prepared = worker.embed()
        connection.execute(meanwhile.encode())
        kept = stored_chunks(connection, index)  # older, or truncated away

        did = worker.write(prepared)

        stored = stored_chunks(connection, index)
        assert stored == {SAVED: [(1, "old")], GONE: [], CHANGED: kept}[outcome], meanwhile
        logged = connection.execute("SELECT FROM embedsql.article_search_log WHERE key_1 = 1")
        assert logged.fetchall() or outcome != CHANGED, meanwhile
        worker.work()
        found[meanwhile] = (did, stored_chunks(connection, index))
        assert verify_all(database).ok, meanwhile

    assert found == MEANWHILE


@pytest.mark.parametrize(
    "meanwhile",
    [
        "TRUNCATE article; INSERT INTO article (id, title) VALUES (1, 'old')",
        "DELETE FROM article; INSERT INTO article (id, title) VALUES (1, 'old')",
    ],
)
def test_a_row_found_unchanged_that_is_removed_and_comes_back_the_same(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    worker: HandWorker,
    meanwhile: str,
) -> None:
    worker.work()
    connection.execute("UPDATE article SET title = 'x'; UPDATE article SET title = 'old'")
    prepared = worker.embed()
    assert prepared.rows[0].chunks is None

    connection.execute(meanwhile.encode())
    worker.write(prepared)
    worker.work()

    assert stored_chunks(connection, index) == [(1, "old")]
    assert verify_all(database).ok


def test_a_text_that_changes_and_changes_back_is_embedded_once(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, worker: HandWorker
) -> None:
    prepared = worker.embed()

    connection.execute("UPDATE article SET title = 'new'")
    connection.execute("UPDATE article SET title = 'old'")

    assert worker.write(prepared) == SAVED
    assert stored_chunks(connection, index) == [(1, "old")]
    worker.work()
    assert worker.embedder.texts == ["old"]
    assert verify_all(database).ok


def test_a_slow_worker_comes_too_late(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    worker: HandWorker,
    slow: HandWorker,
) -> None:
    late = slow.embed()
    connection.execute("UPDATE article SET title = 'new'")
    worker.work()
    before = connection.execute(VERSION).fetchall()

    connection.execute("UPDATE article SET title = 'old'")  # so that only the fence is in its way
    with pytest.raises(LeaseLostError):
        slow.write(late)

    assert stored_chunks(connection, index) == [(1, "new")]
    assert connection.execute(VERSION).fetchall() == before
    worker.work()
    assert stored_chunks(connection, index) == [(1, "old")]
    assert verify_all(database).ok


def test_an_older_version_overwrites_nothing_even_without_the_fence(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    worker: HandWorker,
    slow: HandWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = slow.embed()
    connection.execute("UPDATE article SET title = 'new'")
    worker.work()
    connection.execute("UPDATE article SET title = 'old'")
    before = connection.execute(VERSION).fetchall()

    monkeypatch.setattr(ChangeLog, "fence", lambda *given: None)
    slow.write(late)

    assert stored_chunks(connection, index) == [(1, "new")]
    assert connection.execute(VERSION).fetchall() == before
    monkeypatch.undo()
    worker.work()
    assert verify_all(database).ok


def test_an_applications_open_transaction_stalls_nothing_and_is_not_forgotten(
    connection: psycopg.Connection, database: str, index: RegisteredIndex, worker: HandWorker
) -> None:
    with connection.transaction():
        connection.execute("UPDATE article SET title = 'new'")
        connection.execute("INSERT INTO article (id, title) VALUES (2, 'two')")

        worker.work()

        worker_sees = stored_chunks(worker.connection, index)
    assert worker_sees == [(1, "old")]
    worker.work()
    assert stored_chunks(connection, index) == [(1, "new"), (2, "two")]
    assert verify_all(database).ok


@pytest.mark.parametrize(
    ("change", "in_the_end"),
    [("UPDATE article SET title = 'new'", [(1, "new")]), ("DELETE FROM article", [])],
)
def test_an_application_does_not_wait_for_a_write_and_is_not_forgotten(
    connection: psycopg.Connection,
    database: str,
    index: RegisteredIndex,
    worker: HandWorker,
    change: str,
    in_the_end: list[tuple[int, str]],
) -> None:
    prepared = worker.embed()
    connection.execute("SET lock_timeout = '1s'")

    with worker.connection.transaction():
        assert worker.write(prepared) == SAVED
        connection.execute(change.encode())  # after the guard looked, before the write commits

    worker.work()
    assert stored_chunks(connection, index) == in_the_end
    assert verify_all(database).ok
