"""A user's TRUNCATE takes the source, then our tables; nothing of ours may take them in reverse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy.orm import Session

from embedsql import status
from embedsql.calibration import calibrate
from embedsql.changelog import MOST_CRASHES, Backfill, ChangeLog
from embedsql.database import connect, engine
from embedsql.doctor.finding import Limits
from embedsql.doctor.queue import examine_queue
from embedsql.explain.state import state_of
from embedsql.explain.statement import Key, Subject
from embedsql.reembed import filling, start
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex, find_generations
from embedsql.requeue import requeue_rows
from embedsql.search.target import registered_target
from embedsql.tune.probes import stored_probes
from embedsql.vector_index import ensure_vector_indexes
from embedsql.verify import verify_index
from tests.everyday import cases
from tests.factories import add_index, create_article_table, drain, until, verify_all


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


def state(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    """As a session in autocommit mode asks for it, which keeps no lock from one to the next."""
    bind = engine(connection.info.dsn)
    with Session(bind.execution_options(isolation_level="AUTOCOMMIT")) as session:
        state_of(Subject(session, index.spec, registered_target(index.spec)), Key(index.spec, 1))
    bind.dispose()


def behind(connection: psycopg.Connection, index: RegisteredIndex) -> None:
    serving, following = find_generations(connection, index.spec.name)
    filling.behind(connection, following, serving)


READERS: dict[str, Callable[[psycopg.Connection, RegisteredIndex], object]] = {
    "backfill": lambda connection, index: Backfill(index, "a").claim(connection, 9),
    "requeue": lambda connection, index: requeue_rows(connection, index, None),
    "verify": verify_index,
    "status": lambda connection, index: status.index_status(connection),
    "view": lambda connection, index: connection.execute("SELECT * FROM article_search"),
    "search": search,
    "burial": bury,
    "calibration": calibrate,
    "state": state,
    "queue": lambda connection, index: list(examine_queue(connection, index, Limits())),
    "behind": behind,
    "probes": lambda connection, index: stored_probes(connection, index, 9),
}


@pytest.mark.parametrize("storage", cases(["table", "column"], "column"))
@pytest.mark.parametrize("begun", [False, True])  # the first generation's log is taken
def test_nothing_deadlocks_with_a_truncate(
    connection: psycopg.Connection,
    database: str,
    second: psycopg.Connection,
    storage: str,
    begun: bool,
) -> None:
    create_article_table(connection)
    index = add_index(connection, storage=storage, chunking=None)
    another = replace(index.spec, query_prompt="another", vector_column="another")
    start.begin(connection, index.spec.name, another, None)
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
                    if begun:
                        connection.execute("LOCK TABLE embedsql.article_search_log")
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


def test_a_truncate_of_an_old_snapshot_does_not_deadlock_with_an_index_that_is_built(
    connection: psycopg.Connection, database: str, second: psycopg.Connection
) -> None:
    create_article_table(connection)
    index = add_index(connection)
    connection.execute("INSERT INTO article (title) VALUES ('old')")
    drain(database)
    connection.execute("DROP INDEX embedsql.article_search_chunk_1_ann")
    connection.execute("SET deadlock_timeout = '20ms'")
    with connect(database) as third, ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute(
                "SELECT 1 FROM pg_class LIMIT 1"
            )  # the build waits for this snapshot
            built = pool.submit(ensure_vector_indexes, third, index)
            while not (built.done() or second.execute(BUILDING).fetchall()):
                time.sleep(0.01)
            connection.execute("TRUNCATE article")
        assert isinstance(built.exception(), psycopg.errors.QueryCanceled)
        ensure_vector_indexes(third, index)

    assert verify_all(database).ok


def test_a_status_that_waits_for_one_source_keeps_no_other_locked(
    connection: psycopg.Connection, database: str, second: psycopg.Connection
) -> None:
    create_article_table(connection)
    add_index(connection)
    connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    add_index(connection, "note", text=("body",))
    with ThreadPoolExecutor(1) as pool, connection.transaction():
        connection.execute("TRUNCATE note")
        counting = pool.submit(status.index_status, second)
        until(lambda: connection.execute(WAITING).rowcount == 1)
        connection.execute("SET LOCAL lock_timeout = '500ms'")
        connection.execute("TRUNCATE article")  # else each waits for the other
    assert [one.index for one in counting.result()] == ["article_search", "note_search"]
