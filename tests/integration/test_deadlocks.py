"""A user's TRUNCATE takes the source, then our tables; nothing of ours may take them in reverse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from embedsql import status
from embedsql.calibration import calibrate
from embedsql.changelog import MOST_CRASHES, Backfill, ChangeLog
from embedsql.database import connect
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex
from embedsql.requeue import requeue_rows
from embedsql.tune.probes import stored_probes
from embedsql.verify import verify_index
from tests.factories import add_index, create_article_table, drain, verify_all


@pytest.fixture
def second(database: str) -> Iterator[psycopg.Connection]:
    with connect(database) as opened:
        yield opened


def search(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    with RegisteredSearch(connection.info.dsn, index.spec.name) as opened:
        opened.search("old")


WAITING = """
SELECT FROM pg_locks JOIN pg_database AS d ON d.oid = database
WHERE NOT granted AND datname = current_database()
"""


def bury(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    """Claim till the rows that were inserted are dead letters."""
    log = ChangeLog(index, "a", lease=-1.0)
    for _ in range(MOST_CRASHES + 1):
        log.claim(connection, 1)


READERS: dict[str, Callable[[psycopg.Connection, RegisteredIndex], object]] = {
    "backfill": lambda connection, index: Backfill(index, "a").claim(connection, 9),
    "requeue": lambda connection, index: requeue_rows(connection, index, None),
    "verify": verify_index,
    "status": lambda connection, index: status.index_status(connection),
    "view": lambda connection, index: connection.execute("SELECT * FROM article_search"),
    "search": search,
    "burial": bury,
    "calibration": calibrate,
    "probes": lambda connection, index: stored_probes(connection, index, 9),
}


@pytest.mark.parametrize("storage", ["table", "column"])
def test_nothing_deadlocks_with_a_truncate(
    connection: psycopg.Connection, database: str, second: psycopg.Connection, storage: str
) -> None:
    create_article_table(connection)
    index = add_index(connection, storage=storage, chunking=None)
    for own in (connection, second):
        own.execute("SET deadlock_timeout = '20ms'")

    deadlocked = []
    for name, read in READERS.items():
        connection.execute("INSERT INTO article (title) VALUES ('old')")
        connection.execute("UPDATE embedsql.semantic_index SET backfill_since = now()")
        with ThreadPoolExecutor(1) as pool:
            try:
                with connection.transaction():
                    connection.execute("LOCK TABLE article IN ACCESS EXCLUSIVE MODE")
                    reading = pool.submit(read, second, index)
                    while not (reading.done() or connection.execute(WAITING).fetchall()):
                        time.sleep(0.01)
                    connection.execute("TRUNCATE article")
                reading.result()
            except psycopg.errors.DeadlockDetected:
                deadlocked.append(name)

    assert deadlocked == []
    drain(database)
    assert verify_all(database).ok


BUILDING = "SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for%'"


def test_a_truncate_does_not_wait_for_an_index_that_is_built(
    connection: psycopg.Connection, database: str, second: psycopg.Connection
) -> None:
    create_article_table(connection)
    add_index(connection, index="none")
    connection.execute("INSERT INTO article (title) VALUES ('old'), ('older')")
    drain(database)
    with connect(database) as third, ThreadPoolExecutor(1) as pool:
        with second.transaction():
            second.execute("LOCK TABLE embedsql.article_search_chunk_1 IN ROW EXCLUSIVE MODE")
            built = pool.submit(
                third.execute,
                "CREATE INDEX CONCURRENTLY ON embedsql.article_search_chunk_1 (start_offset)",
            )
            while not (built.done() or connection.execute(BUILDING).fetchall()):
                time.sleep(0.01)
            connection.execute("SET lock_timeout = '3s'")
            connection.execute("TRUNCATE article")
        built.result()
    connection.execute("INSERT INTO article (title) VALUES ('new')")

    drain(database)

    assert connection.execute("SELECT chunk FROM article_search").fetchall() == [("new",)]
    assert verify_all(database).ok


def test_a_truncate_of_an_old_snapshot_takes_all(
    connection: psycopg.Connection, database: str, second: psycopg.Connection
) -> None:
    create_article_table(connection)
    add_index(connection, index="none")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1 FROM pg_class LIMIT 1")  # the snapshot is of now
        second.execute("INSERT INTO article (title) VALUES ('later')")
        drain(database)
        connection.execute("TRUNCATE article")

    assert connection.execute("SELECT FROM embedsql.article_search_chunk_1").rowcount == 0
